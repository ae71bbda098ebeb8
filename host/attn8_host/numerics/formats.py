"""Number formats of the layers that do not compute in int8: fixed point, and floats.

As in TinyMind's QValue: every product is rounded and brought to the format, then added in turn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

# width of the integers in bits, fractional bits
FIXED = {"Q8.8": (16, 8), "Q16.16": (32, 16), "Q24.8": (32, 8)}
FLOATS = {"float": np.float32, "double": np.float64}
NAMES = (*FIXED, *FLOATS)
ROUNDINGS = ("nearest", "truncate")
OVERFLOWS = ("wrap", "saturate")


@dataclass
class Format:
    """ "Q8.8", "Q16.16" or "Q24.8": arrays of raw integers, a number times 2**frac; or floats, IEEE
    single precision as "float" and double as "double".

    rounding: "nearest" (half up) or "truncate", of each product. overflow: "wrap" or "saturate",
    of each product and sum.
    """

    name: str = "Q16.16"
    rounding: str = "nearest"
    overflow: str = "wrap"

    @property
    def dtype(self) -> type:
        """Of stored values."""
        if self.name in FLOATS:
            return FLOATS[self.name]
        return np.int16 if FIXED[self.name][0] == 16 else np.int32

    @property
    def step(self) -> float:
        """What a stored value of 1 stands for."""
        return 1.0 if self.name in FLOATS else 2.0 ** -FIXED[self.name][1]

    @property
    def most(self) -> float:
        """The largest number."""
        if self.name in FLOATS:
            return float(np.finfo(self.dtype).max)
        return float(np.iinfo(self.dtype).max) * self.step

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Real numbers as stored values.

        Raises:
            OverflowError: a number is outside the format's range.
        """
        if self.name in FLOATS:
            return np.asarray(x, self.dtype)
        bits, frac = FIXED[self.name]
        raw = np.floor(np.asarray(x, np.float64) * 2**frac + 0.5)
        if raw.size and not -(2 ** (bits - 1)) <= raw.min() <= raw.max() < 2 ** (bits - 1):
            raise OverflowError(f"{self.name} cannot hold {x}")
        result: np.ndarray = raw.astype(self.dtype)
        return result

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Stored values as real numbers."""
        return x.astype(np.float64) * self.step

    def matmul(
        self, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, relu: bool = False
    ) -> np.ndarray:
        """bias + a @ b, stored values [rows, inner], [inner, columns], [columns]."""
        wide = FLOATS.get(self.name, np.int64)
        a, b = a.astype(wide), b.astype(wide)
        out: np.ndarray = np.zeros((len(a), b.shape[1]), wide)
        if bias is not None:
            out += bias.astype(wide)
        for i in range(a.shape[1]):
            out = self._fit(out + self._product(a[:, i, None] * b[None, i]))
        if relu:
            out = np.where(out < 0, 0, out)
        return out.astype(self.dtype)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Of stored values [rows, columns] over the rows; integers exactly, rounded half up."""
        result: np.ndarray
        if self.name in FLOATS:
            out = np.zeros_like(x[0])
            for row in x:
                out = out + row
            result = out / self.dtype(len(x))
            return result
        sums = x.astype(np.int64).sum(axis=0)
        result = ((sums + len(x) // 2) // len(x)).astype(self.dtype)
        return result

    def _product(self, product: np.ndarray) -> np.ndarray:
        """A product of raw integers, rounded; a float as it is."""
        if self.name in FLOATS:
            return product
        frac = FIXED[self.name][1]
        half = (1 << frac) >> 1 if self.rounding == "nearest" else 0
        return self._fit((product + half) >> frac)

    def _fit(self, x: np.ndarray) -> np.ndarray:
        if self.name in FLOATS:
            return x
        bound = 1 << (FIXED[self.name][0] - 1)
        if self.overflow == "saturate":
            result: np.ndarray = np.clip(x, -bound, bound - 1)
            return result
        return ((x + bound) & (2 * bound - 1)) - bound


def from_entry(entry: dict[str, Any]) -> Format:
    """The format of a layer, as its entry in a config says it."""
    return Format(entry["format"], entry.get("rounding", "nearest"), entry.get("overflow", "wrap"))
