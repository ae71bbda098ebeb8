from .. import checks
from ..formats import Format
from ..kernels import qformat


class Convert:
    # int8 to a fixed-point format: raw integers x << shift, so x stands for x * 2**(shift - frac)

    def __init__(self, size, format, shift):
        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = Format(format)
        if self.format.frac == 0:
            raise ValueError("convert.format: expected fixed point, got %s" % format)
        self.shift = checks.between("convert.shift", shift, 0, 8 * (self.format.itemsize - 1))
        self._widen = qformat.widen16 if self.format.itemsize == 2 else qformat.widen32
        self.out = self.format.zeros(size)

    def __call__(self, x):
        checks.int8("convert", x, self.size)
        self._widen(x, self.out, self.size, self.shift)
        return self.out


def build(entry, tensors, shapes, outputs, width, need_weights):
    layer = Convert(width, entry["format"], entry["shift"])
    outputs.append((entry["name"], layer.format.code, layer.out))
    return layer, width, width
