# Functions of one value by name (see layers/activation.py): a module for each family of them.
from array import array

from ... import tables
from ..pointwise import Activation

UNIT = 1 << 16  # of a parameter: an entry of a training file has it times this


class Function(Activation):
    # given: the parameters that an entry has, in UNITs, by the names that KEYS says

    KEYS = ()  # type: tuple[str, ...]

    def __init__(self, f, name, size, given):
        super().__init__(f, name, size)
        if f.typecode == "i":
            from ...kernels import fixed_pieces as kernels
        else:
            from ...kernels import floating_pieces as kernels
        self._kernels = kernels
        self._numbers = f.typecode == "i" and f.frac
        self.begin(*[given[key] for key in self.KEYS])

    def begin(self, *given):
        # Makes the constants of the parameters
        pass

    def word(self, num, den=UNIT):
        # num / den
        f = self.f
        if f.typecode != "i":
            return num / den
        return max(-f.limit, min(f.limit, ((num << (f.frac + 1)) // den + 1) >> 1))

    def constant(self, *words):
        return array(self.f.typecode, words)

    def times(self, x, constant, out, n, add=0):
        # out = x * constant, or added to out
        self.p.multiply(x, constant, out, n, 1, add)

    def clamp(self, x, out, n, low, high):
        self._kernels.clamp(x, 0, out, n, low, high)

    def steps(self, x, c, out, n):
        # out = c[2] up to x = c[0], c[4] from x = c[1] on, c[3] between
        self._kernels.steps(x, 0, c, out, n)

    def softplus(self, x, out, n):
        self._kernels.softplus(x, 0, out, tables.EXP2, n, self._numbers)

    def requantize(self, r, fields, scale):
        self.reals = [fields[key] for key in self.KEYS]
        return Activation.requantize(self, r, fields, scale)
