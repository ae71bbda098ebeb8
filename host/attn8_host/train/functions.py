"""Functions of one value by name, besides those with a layer of their own (see
layers.activation): parameters are whole numbers, in UNITs."""

from typing import Any

import numpy as np

from .pointwise import Activation

UNIT = 1 << 16
SCALED = 1128181595, 1887744793  # times 2**-30


class Function(Activation):
    """`begin` makes the words of the parameters."""

    def __init__(self, f: Any, *given: int):
        super().__init__(f)
        self.one = self.word(UNIT)
        self.begin(*given)

    def begin(self, *given: Any, **_: Any) -> None:
        pass

    def word(self, num: int, den: int = UNIT) -> Any:
        return self.f.word(num, den)


class Sloped(Function):
    """x times its slope, which is one number up to 0 and another from there on."""

    c: tuple[Any, ...]  # as f.steps takes them

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self.slope())
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.steps(self.x, *self.c)
        return result


class Abs(Sloped):
    def begin(self) -> None:
        least = 1 if isinstance(self.one, int) else 1e-30
        self.c = -least, least, -self.one, 0, self.one


class LeakyReLU(Sloped):
    def begin(self, slope: int) -> None:
        self.c = 0, 0, self.word(slope), 0, self.one


class Clip(Function):
    """x within low and high; where low is above high, high."""

    def begin(self, low: int, high: int) -> None:
        self.low, self.high = self.word(low), self.word(high)

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.clip(x, self.low, self.high)
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.steps(self.x, self.low, self.high, 0, self.one, 0)
        return result


class Line(Function):
    """steep * x + offset within 0 and 1."""

    steep: Any
    offset: Any

    def _line(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self.steep, np.full_like(x, self.offset))
        return result

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.clip(self._line(x), 0, self.one)
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.steps(self._line(self.x), 0, self.one, 0, self.steep, 0)
        return result


class HardSigmoid(Line):
    def begin(self, slope: int, offset: int) -> None:
        self.steep, self.offset = self.word(slope), self.word(offset)


class HardSwish(Line):
    """x * h, h = x / 6 + 1 / 2 within 0 and 1, of the slope h + x * that of h."""

    def begin(self) -> None:
        self.steep, self.offset = self.word(1, 6), self.word(1, 2)

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, super().function(x))
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.multiply(self.x, super().slope(), super().function(self.x))
        return result


class Exponential(Function):
    """line * x above 0, and below it depth * (e**(rate * x) - 1), of the slope `at_0` at 0."""

    line: Any
    depth: Any
    rate: Any
    at_0: Any

    def _below(self, x: np.ndarray) -> np.ndarray:
        """e**(rate * x) up to 0, and 1."""
        result: np.ndarray = self.f.elu_plus_one(self.f.multiply(np.minimum(x, 0), self.rate))
        return result

    def function(self, x: np.ndarray) -> np.ndarray:
        f = self.f
        below = f.subtract(self._below(x), self.one)
        result: np.ndarray = f.multiply(below, self.depth,
                                        f.multiply(np.maximum(x, 0), self.line))
        return result

    def slope(self) -> np.ndarray:
        f = self.f
        slope = f.multiply(self._below(self.x), self.at_0)
        result: np.ndarray = f.add(slope, f.steps(self.x, 0, 0, 0, 0, self.line - self.at_0))
        return result


class ELU(Exponential):
    def begin(self, alpha: int) -> None:
        self.line = self.rate = self.one
        self.depth = self.at_0 = self.word(alpha)


class CELU(Exponential):
    def begin(self, alpha: int) -> None:
        self.line = self.at_0 = self.one
        self.depth, self.rate = self.word(alpha), self.word(UNIT, alpha)


class SELU(Exponential):
    def begin(self) -> None:
        self.line, self.rate = self.word(SCALED[0], 1 << 30), self.one
        self.depth = self.at_0 = self.word(SCALED[1], 1 << 30)


class Scaled(Function):
    """ln(1 + e**(beta * x)) * over, over being 1 / beta."""

    beta: Any
    over: Any

    def function(self, x: np.ndarray) -> np.ndarray:
        f = self.f
        result: np.ndarray = f.multiply(f.softplus(f.multiply(x, self.beta)), self.over)
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.sigmoid(self.f.multiply(self.x, self.beta))
        return result


class Softplus(Scaled):
    def begin(self, beta: int) -> None:
        self.beta, self.over = self.word(beta), self.word(UNIT, beta)


class LogSigmoid(Scaled):
    """-ln(1 + e**-x)."""

    def begin(self) -> None:
        self.beta = self.over = self.word(-UNIT)


class QuickGELU(Function):
    """x * g, g = sigmoid(factor * x), of the slope g + factor * (x*g - x*g*g)."""

    def begin(self, factor: int) -> None:
        self.factor = self.word(factor)

    def _gate(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.sigmoid(self.f.multiply(x, self.factor))
        return result

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self._gate(x))
        return result

    def slope(self) -> np.ndarray:
        f, gate = self.f, self._gate(self.x)
        product = f.multiply(self.x, gate)
        steep = f.subtract(product, f.multiply(product, gate))
        result: np.ndarray = f.multiply(steep, self.factor, gate)
        return result


class Mish(Function):
    """x * t, t = tanh(ln(1 + e**x)), of the slope t + x * (1 - t*t) * sigmoid(x)."""

    def _gate(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.tanh(self.f.softplus(x))
        return result

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self._gate(x))
        return result

    def slope(self) -> np.ndarray:
        f, gate = self.f, self._gate(self.x)
        steep = f.multiply(f.sigmoid(self.x), f.subtract(self.one, f.multiply(gate, gate)))
        result: np.ndarray = f.multiply(self.x, steep, gate)
        return result


class Softsign(Function):
    """x / (1 + |x|), of the slope 1 / (1 + |x|)**2."""

    def _over(self, y: np.ndarray, times: int) -> np.ndarray:
        """y / (1 + |x|)**times."""
        f = self.f
        below = f.multiply(self.x, f.steps(self.x, 0, 0, -self.one, 0, self.one))
        factors = f.reciprocals(f.add(below, self.one).ravel())
        for _ in range(times):
            y = f.stretch(y.reshape(-1, 1), factors)
        return y.reshape(self.x.shape)

    def function(self, x: np.ndarray) -> np.ndarray:
        return self._over(x, 1)

    def slope(self) -> np.ndarray:
        return self._over(np.full_like(self.x, self.one), 2)


class Square(Function):
    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, x)
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.add(self.x, self.x)
        return result


KINDS: dict[str, type[Function]] = {
    "abs": Abs, "celu": CELU, "clip": Clip, "elu": ELU, "hard_sigmoid": HardSigmoid,
    "hard_swish": HardSwish, "leaky_relu": LeakyReLU, "log_sigmoid": LogSigmoid, "mish": Mish,
    "quick_gelu": QuickGELU, "selu": SELU, "softplus": Softplus, "softsign": Softsign,
    "square": Square,
}
