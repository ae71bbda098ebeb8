from .. import checks, signals
from ..kernels import pointwise

TOKENWISE = True


class ReLU:
    # max(x, 0) over `size` int8 or int16 values

    def __init__(self, size, format="int8"):
        self.size = checks.between("relu.size", size, 1, 1 << 20)
        self.format = signals.known("relu.format", format)
        self._relu = pointwise.relu
        if format == "int16":
            from ..kernels import wide

            self._relu = wide.relu
        self.out = signals.zeros(format, size)
        self._bytes = size * signals.BYTES[format]

    def __call__(self, x):
        signals.accept("relu", self.format, x, self.size, self.out, self._bytes)
        self._relu(x, self.out, self.size)
        return self.out


def build(entry, given, need_weights):
    form = signals.follow(entry, given, given[1])
    layer = ReLU(given[1], form)
    entry.gives(signals.CODES[form], layer.out)
    return layer, given
