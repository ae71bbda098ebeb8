# Those of straight pieces, and hard_swish.
from . import UNIT, Function


class Sloped(Function):
    # x times its slope, which is one number up to 0 and another from there on

    def _set(self, *c):
        self.c = self.constant(*c)

    def function(self, x, out, n):
        self.steps(x, self.c, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        self.steps(x, self.c, out, n)


class Abs(Sloped):
    def begin(self):
        one = self.word(UNIT)
        least = 1 if self.f.typecode == "i" else 1e-30
        self._set(-least, least, -one, 0, one)

    def real(self, x):
        return abs(x)


class LeakyReLU(Sloped):
    KEYS = ("slope",)

    def begin(self, slope):
        self._set(0, 0, self.word(slope), 0, self.word(UNIT))

    def real(self, x):
        return x if x > 0 else x * self.reals[0]


class Clip(Function):
    KEYS = ("low", "high")

    def begin(self, low, high):
        self.ends = self.word(low), self.word(high)
        self.c = self.constant(*self.ends, 0, self.word(UNIT), 0)

    def function(self, x, out, n):
        low, high = self.ends
        # As NumPy has it where low is above high: high
        self.clamp(x, out, n, min(low, high), high)

    def slope(self, x, out, n):
        self.steps(x, self.c, out, n)

    def real(self, x):
        return min(max(x, self.reals[0]), self.reals[1])


class Line(Function):
    # slope * x + offset within 0 and 1

    def _set(self, slope, offset):
        self.high = one = self.word(UNIT)
        self.factor, self.offset = self.constant(slope), self.constant(offset)
        self.c = self.constant(0, one, 0, slope, 0)

    def _line(self, x, out, n):
        self.f.spread(self.offset, out, n, 1)
        self.times(x, self.factor, out, n, 1)

    def function(self, x, out, n):
        self._line(x, out, n)
        self.clamp(out, out, n, 0, self.high)

    def slope(self, x, out, n):
        self._line(x, out, n)
        self.steps(out, self.c, out, n)


class HardSigmoid(Line):
    KEYS = ("slope", "offset")

    def begin(self, slope, offset):
        self._set(self.word(slope), self.word(offset))

    def real(self, x):
        return min(max(self.reals[0] * x + self.reals[1], 0), 1)


class HardSwish(Line):
    # x * h, h = x / 6 + 1 / 2 within 0 and 1

    ROOMS = 1

    def begin(self):
        self._set(self.word(1, 6), self.word(1, 2))

    def function(self, x, out, n):
        super().function(x, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # h + x * its slope
        steep = self.rooms[0]
        super().slope(x, steep, n)
        super().function(x, out, n)
        self.p.multiply(x, steep, out, 1, n, 1)

    def real(self, x):
        return x * min(max(x / 6 + 0.5, 0), 1)


KINDS = {"abs": Abs, "clip": Clip, "hard_sigmoid": HardSigmoid, "hard_swish": HardSwish,
         "leaky_relu": LeakyReLU}
