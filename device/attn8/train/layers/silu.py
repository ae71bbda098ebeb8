import math

from ..pointwise import Activation

TOKENWISE = True


class SiLU(Activation):
    # x * g, g = sigmoid(x)

    ROOMS = 2

    def function(self, x, out, n):
        self.p.sigmoid(x, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # g + x*g - x*g*g
        gate, product = self.rooms
        self.p.sigmoid(x, gate, n)
        self.p.multiply(x, gate, out, 1, n)
        self.p.multiply(out, gate, product, 1, n)
        self.f.subtract(out, product, out, n)
        self.f.add(out, gate, out, n)

    def real(self, x):
        return x / (1 + math.exp(-max(-40, min(40, x))))


def build(f, entry, given):
    return SiLU(f, entry.name, given), given
