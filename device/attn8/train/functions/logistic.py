# Those of the logarithm of 1 + e**x, and of its slope, the sigmoid.
import math

from . import UNIT, Function


def softplus(x):
    y = math.exp(-abs(x))
    return max(x, 0) + (math.log(1 + y) if y > 1e-4 else y - y * y / 2)


class Scaled(Function):
    # ln(1 + e**(beta * x)) * over, over being 1 / beta

    ROOMS = 1

    def _set(self, beta, over):
        self.beta, self.over = self.constant(beta), self.constant(over)

    def function(self, x, out, n):
        self.times(x, self.beta, self.rooms[0], n)
        self.softplus(self.rooms[0], out, n)
        self.times(out, self.over, out, n)

    def slope(self, x, out, n):
        self.times(x, self.beta, self.rooms[0], n)
        self.p.sigmoid(self.rooms[0], out, n)


class Softplus(Scaled):
    KEYS = ("beta",)

    def begin(self, beta):
        self._set(self.word(beta), self.word(UNIT, beta))

    def real(self, x):
        return softplus(self.reals[0] * x) / self.reals[0]


class LogSigmoid(Scaled):
    # -ln(1 + e**-x)

    def begin(self):
        self._set(self.word(-UNIT), self.word(-UNIT))

    def real(self, x):
        return -softplus(-x)


class QuickGELU(Function):
    # x * g, g = sigmoid(factor * x)

    KEYS = ("factor",)
    ROOMS = 2

    def begin(self, factor):
        self.factor = self.constant(self.word(factor))

    def _gate(self, x, out, n):
        self.times(x, self.factor, out, n)
        self.p.sigmoid(out, out, n)

    def function(self, x, out, n):
        self._gate(x, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # g + factor * (x*g - x*g*g)
        product, steep = self.rooms
        self._gate(x, out, n)
        self.p.multiply(x, out, product, 1, n)
        self.p.multiply(product, out, steep, 1, n)
        self.f.subtract(product, steep, product, n)
        self.times(product, self.factor, out, n, 1)

    def real(self, x):
        return x / (1 + math.exp(-max(-40, min(40, self.reals[0] * x))))


class Mish(Function):
    # x * t, t = tanh(ln(1 + e**x))

    ROOMS = 2

    def _gate(self, x, out, n):
        self.softplus(x, out, n)
        self.p.tanh(out, out, n)

    def function(self, x, out, n):
        self._gate(x, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # t + x * (1 - t*t) * sigmoid(x)
        f, p = self.f, self.p
        steep, square = self.rooms
        self._gate(x, out, n)
        p.multiply(out, out, square, 1, n)
        f.spread(p.one, steep, n, 1)
        f.subtract(steep, square, square, n)
        p.sigmoid(x, steep, n)
        p.multiply(steep, square, steep, 1, n)
        p.multiply(x, steep, out, 1, n, 1)

    def real(self, x):
        return x * math.tanh(softplus(x))


KINDS = {"log_sigmoid": LogSigmoid, "mish": Mish, "quick_gelu": QuickGELU, "softplus": Softplus}
