from .. import checks, forms, signals
from ..kernels import pointwise

TOKENWISE = True


class ReLU:
    # max(x, 0) over `size` int8 or int16 values

    def __init__(self, size, format="int8", make=signals.make):
        name = "relu"
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        self.format = signals.known(name + ".format", format)
        self._relu = pointwise.relu
        if format == "int16":
            self._relu = forms.choose("wide").relu
        self.out = make(signals.CODES[format], size, True)

    def __call__(self, x):
        signals.accept_over("relu", self.format, x, self.size, self.out)
        self._relu(x, self.out, self.size)
        return self.out


def build(entry, given, need_weights):
    if given[0] not in signals.CODES:
        from ..qrelu import of_entry

        return of_entry(entry, given)
    form = entry.follow(given, given[1])
    layer = ReLU(given[1], form, entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, given
