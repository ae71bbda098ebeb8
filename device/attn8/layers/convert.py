from array import array

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
        checks.apart("convert", x, self.size, "out", self.out,
                     self.size * self.format.itemsize)
        self._widen(x, self.out, self.size, self.shift)
        return self.out


class ConvertToInt8:
    # A fixed-point format to int8: raw integers x / 2**shift, rounded half up, within +-127

    def __init__(self, size, format, shift):
        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = Format(format)
        if self.format.frac == 0:
            raise ValueError("convert: expected fixed point before it, got %s" % format)
        self.shift = checks.between("convert.shift", shift, 0, 8 * self.format.itemsize - 1)
        self._narrow = qformat.narrow16 if self.format.itemsize == 2 else qformat.narrow32
        self._x = memoryview(self.format.zeros(size))
        self.out = array("b", bytes(size))

    def __call__(self, x):
        self.format.copy("convert", x, self._x)
        self._narrow(x, self.out, self.size, self.shift)
        return self.out


def build(entry, given, need_weights):
    form, shift = entry.word("format"), entry.integer("shift")
    if form == "int8":
        layer = ConvertToInt8(given[1], given[0], shift)
        entry.gives("b", layer.out)
    else:
        entry.accept(given, "int8", given[1])
        layer = Convert(given[1], form, shift)
        entry.gives(layer.format.code, layer.out)
    return layer, (form, given[1])
