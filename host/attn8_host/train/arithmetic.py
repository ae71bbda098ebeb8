"""The numbers that training computes with: the board's fixed point, and float64.

Fixed point: a word w of 32 bits stands for w / 2**frac and saturates at +-limit (Q16.16 and Q24.8:
2**30 - 1, Q8.8: 2**15 - 1); what saturates is counted. Roundings, and the bounds that follow, for a
dot product sum(a*b) of n terms, with |a| <= A and |b| <= B over a row:

- each operand is rounded to 14 bits of its row's largest magnitude: an error of at most
  max(A, 2**-2)*2**-14 per a (none at all below 2**-2 in Q16.16), so n*A*B*2**-13 over the sum;
- a group of eight products is summed exactly and then cut to `guard` bits fewer;
- the total is rounded once, half up: 2**-(frac + 1).

A product with a constant, and one with an attention weight (a multiple of 2**-15), is rounded once.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np

from ..numerics.integers import EXP2, bit_length
from .pointwise import FixedPointwise, FloatPointwise

ONE = 1 << 15  # a learning-rate factor of 1

Ratio = tuple[int, int]  # (mult, shift): mult / 2**shift


def ratio(num: float | int, den: int = 1) -> Ratio:
    """(mult, shift) with mult / 2**shift ~ num/den, 2**14 <= mult <= 2**15, shift >= 15.

    Raises:
        ValueError: num/den is not within 2**-15 to 1.
    """
    if isinstance(num, float):
        num, den = math.floor(num * (1 << 30) + 0.5), den << 30
    if not 0 < num <= den <= num << 15:
        raise ValueError(f"ratio: expected 2**-15 to 1, got {num}/{den}")
    shift = 15
    while num << shift < den << 14:
        shift += 1
    return (((num << (shift + 1)) // den) + 1) >> 1, shift


def root_ratio(num: int, den: int) -> Ratio:
    """The same for sqrt(num/den)."""
    return ratio(math.isqrt((num << 60) // den), 1 << 30)


def multiply(x: np.ndarray, mult: int | np.ndarray, shift: int) -> np.ndarray:
    """x * mult / 2**shift, rounded half up."""
    return (x.astype(np.int64) * mult + (1 << (shift - 1))) >> shift


class Fixed(FixedPointwise):
    """Fixed point; every operation takes and returns int64 arrays of words.

    Args:
        frac: fractional bits.
        limit: the largest word.

    `overflows` counts what saturated.
    """

    def __init__(self, frac: int, limit: int):
        self.frac = frac
        self.limit = limit
        self.up = 16 - frac
        self.overflows = 0

    def saturate(self, x: np.ndarray) -> np.ndarray:
        """Clips to +-limit and counts."""
        clipped = np.minimum(np.maximum(x, -self.limit), self.limit)
        self.overflows += int(np.count_nonzero(clipped != x))
        result: np.ndarray = clipped
        return result

    def array(self, x: np.ndarray) -> np.ndarray:
        """Floats as words."""
        return np.clip(np.floor(np.asarray(x, float) * (1 << self.frac) + 0.5),
                       -self.limit, self.limit).astype(np.int64)

    def floats(self, x: np.ndarray) -> np.ndarray:
        """Words as floats."""
        return np.asarray(x) / (1 << self.frac)

    @staticmethod
    def _pack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mantissas in groups of eight [groups, rows, 8], and each row's exponent."""
        rows, inner = x.shape
        e = bit_length(np.maximum(x, -1 - x).max(axis=1) // 16383)
        half = (np.int64(1) << e) >> 1
        groups = -(-inner // 8)
        packed = np.zeros((rows, groups * 8), np.int64)
        packed[:, :inner] = (x + half[:, None]) >> e[:, None]
        return packed.reshape(rows, groups, 8).transpose(1, 0, 2), e

    def product(
        self, a: np.ndarray, b: np.ndarray, onto: np.ndarray | None = None
    ) -> np.ndarray:
        """a @ b.T of words [rows, inner] and [cols, inner], added to `onto` where given."""
        a, a_exponents = self._pack(a)
        b, b_exponents = self._pack(b)
        guard = 1 + (len(a) - 1).bit_length()
        total = ((a @ b.transpose(0, 2, 1)) >> guard).sum(axis=0)
        shift = self.frac - guard - a_exponents[:, None] - b_exponents
        right, left = np.maximum(shift, 0), np.maximum(-shift, 0)
        total = np.where(shift > 0, ((total >> np.maximum(right - 1, 0)) + 1) >> 1, total)
        too_large = (shift <= 0) & (np.abs(total) > self.limit >> left)
        self.overflows += int(np.count_nonzero(too_large))
        total = np.where(too_large, np.sign(total) * self.limit, total << left)
        return self.saturate(total if onto is None else onto + total)

    def column_sums(self, x: np.ndarray, onto: np.ndarray) -> np.ndarray:
        for row in x:
            onto = self.saturate(onto + row)
        return onto

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.saturate(x + y)

    def subtract(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.saturate(x - y)

    def scale(self, x: np.ndarray, factor: Ratio) -> np.ndarray:
        return multiply(x, *factor)

    def factor(self, num: int, den: int) -> Ratio:
        """What `scale` takes."""
        return ratio(num, den)

    def hide(self, scores: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Scores whose softmax is 0 where they are hidden."""
        return np.where(hidden, -self.limit, scores)

    def softmax_scale(self, num: int, den: int) -> tuple[int, int, int, Ratio]:
        """For softmax(scores * sqrt(num/den)): constants of the forward and backward pass."""
        square = math.floor(Fraction(math.log2(math.e) ** 2) * 2**30)
        mult, shift = root_ratio(num * square, den << 32)
        return mult, shift, ((17 << 15 << shift) // mult) >> self.up, root_ratio(num, den)

    def softmax(self, scores: np.ndarray, scale: Any) -> tuple[np.ndarray, int]:
        """The weights of each row, and the last row's sum of numerators in Q15."""
        mult, shift, limit, _ = scale
        difference = scores.max(axis=1, keepdims=True) - scores
        kept = difference <= limit
        t = multiply(np.where(kept, difference, 0) << self.up, mult, shift)
        table = np.append(EXP2, 32768)
        i = (t >> 7) & 255
        e = (table[i] << 7) - (table[i] - table[i + 1]) * (t & 127)
        e = np.where(kept, ((e >> (7 + (t >> 15))) + 1) >> 1, 0)
        total = e.sum(axis=1, keepdims=True)
        weights = ((e << 15) + (total >> 1)) // total
        if self.up:
            weights = (weights + (1 << (self.up - 2))) >> (self.up - 1)
        else:
            weights <<= 1
        return weights, int(total[-1, 0])

    def softmax_backward(self, weights: np.ndarray, d: np.ndarray, scale: Any) -> np.ndarray:
        """weights * (d - rowsum(d * weights)) * scale."""
        q15 = (weights << self.up) >> 1
        total = np.zeros(len(d), np.int64)
        for column in multiply(d, q15, 15).T:
            total = self.saturate(total + column)
        return multiply(multiply(self.saturate(d - total[:, None]), q15, 15), *scale[3])

    def log(self, total: int) -> int:
        """ln(total / 2**15), bit by bit."""
        octaves = max(0, total.bit_length() - 16)
        x = total >> octaves
        for _ in range(16):
            x = (x * (x >> 1)) >> 14
            octaves <<= 1
            if x >= 65536:
                x >>= 1
                octaves += 1
        n = 16 - self.frac
        return (int(multiply(np.array(octaves), 22713, 15)) + ((1 << n) >> 1)) >> n

    def sgd(self, param: Any, velocity: Any, momentum: Any, lr: Any, factor: Any) -> Any:
        step = param.grad
        if momentum:
            step = velocity = self.saturate(multiply(velocity, *momentum) + step)
        update = multiply(step, _part(lr[0], factor), lr[1])
        param.value = self.saturate(param.value - update)
        return velocity

    def adam_constants(self, beta1: Ratio, beta2: Ratio, lr: Ratio, eps: Ratio) -> Any:
        rate1, rate2 = (ratio((1 << b[1]) - b[0], 1 << b[1]) for b in (beta1, beta2))
        return rate1, rate2, max(1, eps[0] << 15 >> eps[1])

    def adam(
        self, param: Any, first: Any, second: Any, constants: Any, lr: Any, factor: Any
    ) -> Any:
        rate1, rate2, eps = constants
        g = param.grad << self.up
        self.overflows += int((np.abs(g) > 92681).sum())
        g = np.clip(g, -92681, 92681)
        first = first + multiply((g << 12) - first, *rate1)
        half = np.abs(g) >> 1
        second = second + multiply(half * half - second, *rate2)
        root = np.array([math.isqrt(v) for v in second.ravel().tolist()]).reshape(second.shape)
        quotient = ((first >> 13) << 12) // (root + eps)
        update = multiply(quotient, _part(lr[0], factor), lr[1] - self.frac + 12)
        param.value = self.saturate(param.value - update)
        return first, second

    def clip(self, params: Any, norm: float) -> None:
        limit = int(self.array(np.array(norm)))
        size = sum(p.grad.size for p in params)
        peak = max(int(np.maximum(p.grad, -1 - p.grad).max()) for p in params)
        most = math.isqrt(((1 << 30) - 1) // size) - 1
        shift = 0
        while peak >> shift >= most:
            shift += 1
        root = math.isqrt(sum(int(((p.grad >> shift) ** 2).sum()) for p in params))
        if limit >> shift > root:
            return
        mult = ((limit << 15) >> shift) // max(root, 1)
        if mult < ONE:
            for p in params:
                p.grad = multiply(p.grad, mult, 15)


def _part(mult: int, factor: int) -> int:
    return (mult * factor + (ONE >> 1)) >> 15


def _number(pair: Ratio) -> float:
    result: float = pair[0] / 2 ** pair[1]
    return result


class Float64(FloatPointwise):
    """The same operations in double precision; words are the numbers themselves."""

    overflows = 0

    def saturate(self, x: Any) -> Any:
        return x

    def array(self, x: np.ndarray) -> np.ndarray:
        return np.array(x, float)

    def floats(self, x: np.ndarray) -> np.ndarray:
        return x

    def product(self, a: Any, b: Any, onto: Any=None) -> Any:
        return a @ b.T if onto is None else onto + a @ b.T

    def column_sums(self, x: Any, onto: Any) -> Any:
        return onto + x.sum(axis=0)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def subtract(self, x: Any, y: Any) -> Any:
        return x - y

    def scale(self, x: Any, factor: Any) -> Any:
        return x * factor

    def factor(self, num: int, den: int) -> float:
        return num / den

    def hide(self, scores: Any, hidden: np.ndarray) -> Any:
        return np.where(hidden, -1e30, scores)

    def softmax_scale(self, num: int, den: int) -> float:
        return math.sqrt(num / den)

    def softmax(self, scores: Any, scale: Any) -> Any:
        e = np.exp((scores - scores.max(axis=1, keepdims=True)) * scale)
        total = e.sum(axis=1, keepdims=True)
        return e / total, total[-1, 0]

    def softmax_backward(self, weights: Any, d: Any, scale: Any) -> Any:
        return weights * (d - (d * weights).sum(axis=1, keepdims=True)) * scale

    def log(self, total: float) -> float:
        return math.log(total)

    def sgd(self, param: Any, velocity: Any, momentum: Any, lr: Any, factor: Any) -> Any:
        step = param.grad
        if momentum:
            step = velocity = velocity * _number(momentum) + step
        param.value = param.value - step * _number(lr) * factor / ONE
        return velocity

    def adam_constants(self, beta1: Ratio, beta2: Ratio, lr: Ratio, eps: Ratio) -> Any:
        return 1 - _number(beta1), 1 - _number(beta2), _number(eps)

    def adam(
        self, param: Any, first: Any, second: Any, constants: Any, lr: Any, factor: Any
    ) -> Any:
        rate1, rate2, eps = constants
        first = first + rate1 * (param.grad - first)
        second = second + rate2 * (param.grad**2 - second)
        step = _number(lr) * factor / ONE
        param.value = param.value - step * first / (np.sqrt(second) + eps)
        return first, second

    def clip(self, params: Any, norm: float) -> None:
        total = math.sqrt(sum(float((p.grad**2).sum()) for p in params))
        if total > norm:
            for p in params:
                p.grad = p.grad * (norm / total)


def get(name: str) -> Fixed | Float64:
    """A format by name: Q16.16, Q24.8, Q8.8 or float64."""
    if name == "Q16.16":
        return Fixed(16, (1 << 30) - 1)
    if name == "Q24.8":
        return Fixed(8, (1 << 30) - 1)
    if name == "Q8.8":
        return Fixed(8, (1 << 15) - 1)
    if name == "float64":
        return Float64()
    raise ValueError(f"format: expected Q16.16, Q24.8, Q8.8 or float64, got {name}")
