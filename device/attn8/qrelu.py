from . import checks, signals
from .formats import FORMATS, Format
from .kernels.objects import same


class QReLU:
    # max(x, 0) over `size` values in fixed point or floats (see formats)

    def __init__(self, size, format="Q16.16", make=signals.make):
        self.size = checks.between("relu.size", size, 1, 1 << 20)
        self.format = f = Format(format)
        self.out = make(f.code, size, True)
        # A product of nothing: x is its bias
        self._plan = f.plan((1, 0, size), (0, 0), (0, 0), 1, (0, 1), 1)

    def __call__(self, x):
        f = self.format
        size = self.size * f.itemsize
        checks.values("relu", x, self.size, False, f.code)
        if not same(x, self.out):
            checks.apart("relu", x, size, "out", self.out, size)
        f.matmul(x, f.acc, x, x, self.out, self._plan)
        return self.out


def of_entry(entry, given):
    # Of a model file, in the format that it is given
    form, size = given
    entry.accept(given, form if form in FORMATS else "int8", size)
    layer = QReLU(size, form, entry.make)
    entry.gives(layer.format.code, layer.out)
    return layer, given
