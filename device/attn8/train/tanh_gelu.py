import math

from .pointwise import Activation


class TanhGELU(Activation):
    # x * g, g = sigmoid(2u), 2u = x * (1.595769 + 0.0713548 * x**2), x within +-8 in u

    ROOMS = 2

    def __init__(self, f, name, size):
        super().__init__(f, name, size)
        self._linear = f.factor(856722024, 1 << 30)  # half of it
        self._cubic = f.factor(76616651, 1 << 30)
        self._slope = f.factor(229849952, 1 << 30)  # three times that

    def _gate(self, x, out, n, square):
        # 2u in `out`, x**2 in `square`
        f, p = self.f, self.p
        p.within(x, out, n, 8)
        p.multiply(out, out, square, 1, n)
        f.scale(square, square, n, self._cubic)
        p.multiply(square, out, square, 1, n)
        f.scale(out, out, n, self._linear)
        f.add(out, out, out, n)
        f.add(out, square, out, n)
        p.sigmoid(out, out, n)

    def function(self, x, out, n):
        self._gate(x, out, n, self.rooms[0])
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # g + c*g*(1 - g) * (1.595769 + 0.214064 * c**2), c being x within +-8
        f, p = self.f, self.p
        gate, product = self.rooms
        self._gate(x, gate, n, product)
        p.within(x, out, n, 8)
        p.multiply(out, out, product, 1, n)
        f.scale(product, product, n, self._slope)
        p.multiply(product, out, product, 1, n)
        f.scale(out, out, n, self._linear)
        f.add(out, out, out, n)
        f.add(out, product, out, n)
        p.multiply(out, gate, out, 1, n)
        p.multiply(out, gate, product, 1, n)
        f.subtract(out, product, out, n)
        f.add(out, gate, out, n)

    def real(self, x):
        return x * (1 + math.tanh(0.7978846 * (x + 0.044715 * x * x * x))) / 2
