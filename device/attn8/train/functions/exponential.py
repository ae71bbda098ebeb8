# Those that are a line above 0 and go to a number below it as e**x does.
import math

from ... import tables
from . import UNIT, Function

SCALED = 1128181595, 1887744793  # times 2**-30


class Exponential(Function):
    # line * x above 0, and below it depth * (e**(rate * x) - 1), of the slope depth * rate at 0

    ROOMS = 2

    def _set(self, line, depth, rate, slope):
        f = self.f
        if f.typecode == "i":
            from ...kernels import fixed_linear as kernels

            self._limits = f.frac, f.limit, f.count
        else:
            from ...kernels import floating_linear as kernels

            self._limits = 0, 3e38, None
        self._exponential = kernels.elu_plus_one
        self.line, self.depth = self.constant(line), self.constant(depth)
        self.rate, self.at_0 = self.constant(rate), self.constant(slope)
        self.c = self.constant(0, 0, 0, 0, line - slope)

    def _below(self, x, n):
        # e**(rate * x) up to 0, and 1
        below = self.rooms[0]
        frac, limit, count = self._limits
        self.clamp(x, below, n, -limit, 0)
        self.times(below, self.rate, below, n)
        self._exponential(below, 0, below, tables.EXP2, n, frac, limit, count)
        return below

    def function(self, x, out, n):
        f, ones = self.f, self.rooms[1]
        below = self._below(x, n)
        f.spread(self.p.one, ones, n, 1)
        f.subtract(below, ones, below, n)
        f.relu(x, x, out, n)
        self.times(out, self.line, out, n)
        self.times(below, self.depth, out, n, 1)

    def slope(self, x, out, n):
        above = self.rooms[1]
        self.times(self._below(x, n), self.at_0, out, n)
        self.steps(x, self.c, above, n)
        self.f.add(out, above, out, n)


class ELU(Exponential):
    KEYS = ("alpha",)

    def begin(self, alpha):
        one = self.word(UNIT)
        self._set(one, self.word(alpha), one, self.word(alpha))

    def real(self, x):
        return x if x > 0 else self.reals[0] * (math.exp(x) - 1)


class CELU(Exponential):
    KEYS = ("alpha",)

    def begin(self, alpha):
        one = self.word(UNIT)
        self._set(one, self.word(alpha), self.word(UNIT, alpha), one)

    def real(self, x):
        return x if x > 0 else self.reals[0] * (math.exp(x / self.reals[0]) - 1)


class SELU(Exponential):
    def begin(self):
        line, depth = self.word(SCALED[0], 1 << 30), self.word(SCALED[1], 1 << 30)
        self._set(line, depth, self.word(UNIT), depth)

    def real(self, x):
        return (SCALED[0] * x if x > 0 else SCALED[1] * (math.exp(x) - 1)) / (1 << 30)


KINDS = {"celu": CELU, "elu": ELU, "selu": SELU}
