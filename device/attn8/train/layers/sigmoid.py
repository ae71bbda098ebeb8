import math

from ..pointwise import Activation

TOKENWISE = True


class Sigmoid(Activation):
    READS = ("out",)

    def function(self, x, out, n):
        self.p.sigmoid(x, out, n)

    def slope(self, y, out, n):
        # y - y*y
        self.p.multiply(y, y, out, 1, n)
        self.f.subtract(y, out, out, n)

    def real(self, x):
        return 1 / (1 + math.exp(-max(-40, min(40, x))))


def build(f, entry, given):
    return Sigmoid(f, entry.name, given), given
