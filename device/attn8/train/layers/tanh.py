import math

from ..pointwise import Activation

TOKENWISE = True


class Tanh(Activation):
    READS = ("out",)
    ROOMS = 1

    def function(self, x, out, n):
        self.p.tanh(x, out, n)

    def slope(self, y, out, n):
        # 1 - y*y
        ones = self.rooms[0]
        self.p.multiply(y, y, out, 1, n)
        self.f.spread(self.p.one, ones, n, 1)
        self.f.subtract(ones, out, out, n)

    def real(self, x):
        return math.tanh(x)


def build(f, entry, given):
    return Tanh(f, entry.name, given), given
