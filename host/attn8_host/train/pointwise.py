"""What layers that compute value by value need: of fixed point, and of float64."""

from math import erf, isqrt, pi, sqrt
from typing import Any

import numpy as np

from ..layers.base import TrainableLayer
from ..numerics.floating import elu_plus_one
from ..numerics.integers import EXP2, bit_length
from ..numerics.parameter import Parameter
from ..numerics.rotary import phases, sine, turned

Pair = tuple[int, int]  # mult / 2**shift


def norm_shape(n: int, eps: Pair, frac: int) -> tuple[int, int, int, int, int]:
    """What the board's kernel takes: frac; n * eps * 4**6 in squared words, in two parts; sqrt(n)
    as root / 2**places.

    Raises:
        ValueError: eps is more than squares of words leave room for.
    """
    whole = (eps[0] << (2 * frac + 12)) * n >> eps[1]
    if whole >> 45:
        raise ValueError(f"eps: expected less, got {eps[0] / 2 ** eps[1]:g}")
    places = 14
    while n << (2 * places) >= 1 << 30:
        places -= 1
    return frac, whole >> 16, whole & 65535, isqrt(n << (2 * places)), places


def _halved(octaves: np.ndarray) -> np.ndarray:
    """2**-t of t in 2**-15 octaves, in Q15."""
    table = np.append(EXP2, 32768)
    i = (octaves >> 7) & 255
    e = (table[i] << 7) - (table[i] - table[i + 1]) * (octaves & 127)
    halved: np.ndarray = ((e >> (7 + (octaves >> 15))) + 1) >> 1
    return halved


class FixedPointwise:
    """Of fixed point (see arithmetic.Fixed); words are int64 arrays.

    In Q16.16 sigmoid is within 2**-15 of the exact function, the others are within 2**-14: results
    are multiples of 2**-15, of tanh 2**-14. In Q24.8 and Q8.8 they are multiples of 2**-8.
    """

    frac: int
    limit: int
    up: int
    overflows: int

    def saturate(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def multiply(self, x: np.ndarray, y: np.ndarray, onto: np.ndarray | None = None) -> np.ndarray:
        """x * y, rounded once, half up, and added to `onto` where given."""
        exact = x * y
        whole, most = exact >> 30, self.limit >> (30 - self.frac)
        beyond = (whole > most) | (whole < -1 - most)
        self.overflows += int(np.count_nonzero(beyond))
        found = np.where(beyond, np.sign(exact) * self.limit,
                         (exact + (1 << (self.frac - 1))) >> self.frac)
        return self.saturate(found if onto is None else onto + found)

    def within(self, x: np.ndarray, most: int) -> np.ndarray:
        """x within +-most."""
        found: np.ndarray = np.clip(x, -most << self.frac, most << self.frac)
        return found

    def word(self, num: int, den: int) -> int:
        """num / den."""
        return max(-self.limit, min(self.limit, ((num << (self.frac + 1)) // den + 1) >> 1))

    def steps(
        self, x: np.ndarray, low: Any, high: Any, below: Any, between: Any, above: Any
    ) -> np.ndarray:
        """Words: `below` up to x = low, `above` from x = high on."""
        found: np.ndarray = np.where(x <= low, below, np.where(x < high, between, above))
        return found

    def softplus(self, x: np.ndarray) -> np.ndarray:
        """ln(1 + e**x).

        Source: M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 4.1.43.
        """
        t = np.minimum(np.abs(x), 12 << self.frac) << self.up
        e = _halved((t * 23637 + 16384) >> 15)
        y = np.full_like(e, 1054)
        for coefficient in (-4459, 9486, -16119, 32751):
            y = ((e * y + 16384) >> 15) + coefficient
        result: np.ndarray = np.maximum(x, 0) + self._given((e * y + 16384) >> 15)
        return result

    def _given(self, q15: np.ndarray) -> np.ndarray:
        given: np.ndarray = ((q15 << 1) + ((1 << self.up) >> 1)) >> self.up
        return given

    def _sigmoid(self, x: np.ndarray, twice: int) -> np.ndarray:
        t = np.minimum(np.abs(x), 12 << self.frac >> twice) << (self.up + twice)
        e = _halved((t * 23637 + 16384) >> 15)
        small: np.ndarray = ((e << 15) + ((32768 + e) >> 1)) // (32768 + e)
        return small

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + e**-x)."""
        small = self._sigmoid(x, 0)
        return self._given(np.where(x < 0, small, 32768 - small))

    def tanh(self, x: np.ndarray) -> np.ndarray:
        """tanh(x)."""
        found = 32768 - 2 * self._sigmoid(x, 1)
        return self._given(np.where(x < 0, -found, found))

    def _density(self, x: np.ndarray) -> np.ndarray:
        high, low = x >> 10, x & 1023
        square = ((high * high) << 4) + ((high * low) >> 5) + ((low * low) >> 16)
        e = _halved(((square * 23637 >> 15) + 1) >> 1)
        found: np.ndarray = (e * 13073 + 16384) >> 15
        return found

    def _magnitude(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.minimum(np.abs(x), (19 << self.frac) >> 2) << self.up
        return found

    def density(self, x: np.ndarray) -> np.ndarray:
        """exp(-x**2 / 2) / sqrt(2 * pi)."""
        return self._given(self._density(self._magnitude(x)))

    def normal(self, x: np.ndarray) -> np.ndarray:
        """The distribution of a standard normal variable at x.

        Source: M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 26.2.16.
        """
        magnitude = self._magnitude(x)
        t = 32768 + (((magnitude >> 3) * 10901 + 4096) >> 13)
        t = ((1 << 30) + (t >> 1)) // t
        y = ((t * 30713 + 16384) >> 15) - 3938
        y = ((t * y + 16384) >> 15) + 14293
        y = (t * y + 16384) >> 15
        small = (self._density(magnitude) * y + 16384) >> 15
        return self._given(np.where(x < 0, small, 32768 - small))

    def centre(self, x: np.ndarray) -> np.ndarray:
        """Rows without their means, which are rounded half up."""
        n = x.shape[1]
        return self.saturate(x - (x.sum(axis=1, keepdims=True) + (n >> 1)) // n)

    def normalize(self, x: np.ndarray, eps: Pair) -> tuple[np.ndarray, Any]:
        """Rows over sqrt(mean(x**2) + eps), and the reciprocals of these roots, F / 2**q.

        Mantissas have 14 bits of the row's largest magnitude, roots and reciprocals 15: the results
        are within 2**-13 of their row's largest.
        """
        n = x.shape[1]
        _, upper, lower, of_n, places = norm_shape(n, eps, self.frac)
        peak = np.maximum(x, -1 - x).max(axis=1)
        e = bit_length(peak // 16383)
        for _ in range(6):
            e = np.where((e <= 0) & (e > -6) & (peak << np.maximum(1 - e, 0) < 16383), e - 1, e)
        down, up = np.maximum(e, 0)[:, None], np.maximum(-e, 0)[:, None]
        m = ((x + ((1 << down) >> 1)) >> down) << up
        total = (m * m).sum(axis=1) + ((upper << 16 | lower) >> 2 * (e + 6))
        root = np.zeros_like(total)
        h = np.zeros_like(total)
        for i, value in enumerate(total.tolist()):
            while value and value < 1 << 28:
                value <<= 2
                h[i] -= 1
            if value >> 30:
                while total[i] >> 2 * h[i] >> 30:
                    h[i] += 1
                value = int(total[i]) >> 2 * int(h[i])
            root[i] = isqrt(value)
            root[i] += value - int(root[i]) ** 2 > root[i]
        factor = np.where(root > 0, ((of_n << 14) + (root >> 1)) // np.maximum(root, 1), 0)
        h += 14 + places - self.frac
        left, right = np.maximum(-h, 0)[:, None], np.maximum(h, 0)[:, None]
        z = (m * factor[:, None] + ((1 << right) >> 1)) >> right << left
        return z, (factor[:, None], np.maximum(h + e, 0)[:, None])

    def project(self, d: np.ndarray, z: np.ndarray) -> np.ndarray:
        """d - z * mean(d * z) of each row; z is normalized."""
        n = d.shape[1]
        (a, a_exponents), (b, b_exponents) = (_mantissas(x) for x in (d, z))
        mean = ((a * b).sum(axis=1) + (n >> 1)) // n
        shift = a_exponents + b_exponents - self.frac
        left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
        mean = ((mean + ((1 << right) >> 1)) >> right) << left
        mean = np.clip(mean, -self.limit, self.limit)[:, None]
        exact = z * mean
        whole, most = exact >> 30, self.limit >> (30 - self.frac)
        beyond = (whole > most) | (whole < -1 - most)
        self.overflows += int(np.count_nonzero(beyond))
        found = np.where(beyond, np.sign(exact) * self.limit,
                         (exact + (1 << (self.frac - 1))) >> self.frac)
        return self.saturate(d - found)

    def elu_plus_one(self, x: np.ndarray) -> np.ndarray:
        """x + 1, and e**x below 0, to multiples of 2**-15."""
        t = np.minimum(np.maximum(-x, 0), 12 << self.frac) << self.up
        below = self._given(_halved((t * 23637 + 16384) >> 15))
        return self.saturate(np.where(x > 0, x + (1 << self.frac), below))

    def rotate(self, x: np.ndarray, turns: np.ndarray, back: bool = False) -> np.ndarray:
        """x [tokens, heads, head_dim], whose pairs of values turn by `turns` a position, or back;
        sines and cosines are multiples of 2**-14."""
        phase = phases(turns, 0, len(x))[:, None]
        found = turned(x, sine(phase + (1 << 30)), -sine(phase) if back else sine(phase))
        return self.saturate(found + (1 << 13) >> 14)

    def reciprocals(self, x: np.ndarray) -> Any:
        """1 / x of each row [rows], F / 2**q as `stretch` takes them; 0 where x is not above 0."""
        q = bit_length(np.maximum(x, 0) >> 15)
        m = (np.maximum(x, 1) + ((np.int64(1) << q) >> 1)) >> q
        up = np.maximum(15 - bit_length(m), 0)
        m, q = m << up, q - up
        factor = np.where(x > 0, ((1 << 29) + (m >> 1)) // m, 0)
        q = np.where(x > 0, np.maximum(q + 29 - self.frac, 0), 0)
        return factor[:, None], q[:, None]

    def stretch(self, d: np.ndarray, factors: Any) -> np.ndarray:
        """d * F / 2**q of each row."""
        factor, q = factors
        return self.saturate((d * factor + ((1 << q) >> 1)) >> q)


def _mantissas(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in 14 bits of their largest magnitude, and their exponents."""
    e = bit_length(np.maximum(x, -1 - x).max(axis=1) // 16383)
    return (x + ((np.int64(1) << e) >> 1)[:, None]) >> e[:, None], e


class FloatPointwise:
    """The same in float64."""

    def multiply(self, x: Any, y: Any, onto: Any = None) -> Any:
        return x * y if onto is None else onto + x * y

    def within(self, x: Any, most: int) -> Any:
        return np.clip(x, -most, most)

    def word(self, num: int, den: int) -> float:
        return num / den

    def steps(self, x: Any, low: Any, high: Any, below: Any, between: Any, above: Any) -> Any:
        return np.where(x <= low, below, np.where(x < high, between, above))

    def softplus(self, x: Any) -> Any:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def sigmoid(self, x: Any) -> Any:
        return 0.5 * (1 + np.tanh(0.5 * x))

    def tanh(self, x: Any) -> Any:
        return np.tanh(x)

    def density(self, x: Any) -> Any:
        return np.exp(-x * x / 2) / sqrt(2 * pi)

    def normal(self, x: Any) -> Any:
        return 0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(x / sqrt(2)))

    def centre(self, x: Any) -> Any:
        return x - x.mean(axis=1, keepdims=True)

    def normalize(self, x: Any, eps: Pair) -> tuple[Any, Any]:
        squares = (x * x).mean(axis=1, keepdims=True) + eps[0] / 2 ** eps[1]
        factors = 1 / np.sqrt(np.where(squares > 0, squares, np.inf))
        return x * factors, factors

    def project(self, d: Any, z: Any) -> Any:
        return d - z * (d * z).mean(axis=1, keepdims=True)

    def elu_plus_one(self, x: Any) -> Any:
        return elu_plus_one(x)

    def rotate(self, x: Any, turns: np.ndarray, back: bool = False) -> Any:
        angles = phases(turns, 0, len(x))[:, None] * (2 * pi / 2**32)
        return turned(x, np.cos(angles), -np.sin(angles) if back else np.sin(angles))

    def reciprocals(self, x: Any) -> Any:
        return np.where(x > 0, 1 / np.where(x > 0, x, 1), 0)[:, None]

    def stretch(self, d: Any, factors: Any) -> Any:
        return d * factors


class Activation(TrainableLayer):
    """A function of each value: `function`, and `slope` where it was called last."""

    def __init__(self, f: Any):
        self.f = f

    def function(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def slope(self) -> np.ndarray:
        raise NotImplementedError

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        self.out = self.function(x)
        return self.out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        dx: np.ndarray = self.f.multiply(grad.reshape(self.x.shape), self.slope())
        return dx


class Norm(TrainableLayer):
    """Rows over their root mean square, times weight; with a bias without their mean, and plus it.

    Args:
        f: the format of the numbers.
        name: of the parameters.
        eps: what is added to the mean square, mult / 2**shift.
        weight, bias: words [features]; no bias: there is no mean either.
    """

    def __init__(
        self, f: Any, name: str, eps: Pair, weight: np.ndarray, bias: np.ndarray | None = None
    ):
        self.f = f
        self.eps = eps
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = None if bias is None else Parameter(f"{name}.bias", bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.reshape(-1, len(self.weight.value))
        onto = np.broadcast_to(self.bias.value, self.x.shape) if self.bias else None
        out: np.ndarray = self.f.multiply(self._normalized()[0], self.weight.value, onto)
        return out

    def _normalized(self) -> tuple[np.ndarray, Any]:
        """As the board, which has no room to keep them, in both passes: so what saturates counts
        twice."""
        found: tuple[np.ndarray, Any] = self.f.normalize(
            self.f.centre(self.x) if self.bias else self.x, self.eps)
        return found

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f = self.f
        z, factors = self._normalized()
        grad = grad.reshape(z.shape)
        self.weight.grad = f.column_sums(f.multiply(grad, z), self.weight.grad)
        if self.bias:
            self.bias.grad = f.column_sums(grad, self.bias.grad)
        d = f.multiply(grad, self.weight.value)
        if self.bias:
            d = f.centre(d)
        dx: np.ndarray = f.stretch(f.project(d, z), factors)
        return dx

    def collect_params(self) -> list[Any]:
        return [self.weight, self.bias] if self.bias else [self.weight]
