# Between int8 and the number formats (see formats).
import math

from . import checks, signals


class Convert:
    # int8 to a number format: raw integers x << shift, so x stands for x * 2**(shift - frac). With
    # mult it stands for x * mult / 2**shift, rounded half up to the format; floats take that form.

    def __init__(self, size, format, shift, mult=None, make=signals.make):
        from .formats import Format

        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = f = Format(format)
        bits = 8 * f.itemsize
        if mult is None:
            if f.frac == 0:
                raise ValueError("convert.format: expected fixed point, or a mult, got %s" % format)
            checks.between("convert.shift", shift, 0, bits - 8)
            self._factor = 1, -shift
        else:
            checks.between("convert.mult", mult, 1 << 14, (1 << 15) - 1)
            checks.between("convert.shift", shift, -64, 64)
            self._factor = mult, shift - f.frac
        if f.frac == 0:
            from .kernels.float import scale

            self._factor = math.ldexp(mult, -shift), 0
        else:
            from .kernels import qformat

            factor, down = self._factor
            most = 1 << bits - 1
            if down > 30 or factor << 7 > (most << down if down > 0 else most >> -down):
                raise ValueError("convert.shift: int8 leaves %s, got %d" % (format, shift))
            scale = qformat.scale16 if bits == 16 else qformat.scale32
        self._scale = scale
        self.out = make(f.code, size)

    def __call__(self, x):
        checks.values("convert", x, self.size)
        checks.apart("convert", x, self.size, "out", self.out,
                     self.size * self.format.itemsize)
        factor, down = self._factor
        self._scale(x, self.out, self.size, factor, down)
        return self.out


class ConvertToInt8:
    # A fixed-point format to int8: raw integers x / 2**shift, rounded half up, within +-127

    def __init__(self, size, format, shift, make=signals.make):
        from .formats import Format
        from .kernels import qformat

        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = Format(format)
        if self.format.frac == 0:
            raise ValueError("convert: expected fixed point before it, got %s" % format)
        self.shift = checks.between("convert.shift", shift, 0, 8 * self.format.itemsize - 1)
        self._narrow = qformat.narrow16 if self.format.itemsize == 2 else qformat.narrow32
        self._x = memoryview(self.format.zeros(size))
        self.out = make("b", size)

    def __call__(self, x):
        self.format.copy("convert", x, self._x)
        self._narrow(x, self.out, self.size, self.shift)
        return self.out
