from .. import checks, signals
from ..kernels import pointwise

TOKENWISE = True


class ReLU:
    # max(x, 0) over `size` int8 values

    def __init__(self, size, make=signals.make):
        self.size = checks.between("relu.size", size, 1, 1 << 20)
        self.out = make("b", size, True)

    def __call__(self, x):
        signals.accept_over("relu", "int8", x, self.size, self.out)
        pointwise.relu(x, self.out, self.size)
        return self.out


def build(entry, given, need_weights):
    entry.accept(given, "int8", given[1])
    layer = ReLU(given[1], entry.make)
    entry.gives("b", layer.out)
    return layer, given
