"""Number formats of the layers that do not compute in int8: fixed point, and floats.

As in TinyMind's QValue: every product is rounded and brought to the format, then added in turn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

# width of the integers in bits, fractional bits
FIXED = {"Q8.8": (16, 8), "Q16.16": (32, 16), "Q24.8": (32, 8)}
NAMES = (*FIXED, "float")
ROUNDINGS = ("nearest", "truncate")
OVERFLOWS = ("wrap", "saturate")


@dataclass
class Format:
    """ "Q8.8", "Q16.16" or "Q24.8": arrays of raw integers, a number times 2**frac; or "float".

    rounding: "nearest" (half up) or "truncate", of each product. overflow: "wrap" or "saturate",
    of each product and sum. precision: of a board's floats: float32 on a chip, float64 where
    MicroPython has doubles; stored values are float32 in any case.
    """

    name: str = "Q16.16"
    rounding: str = "nearest"
    overflow: str = "wrap"
    precision: type = np.float32

    @property
    def dtype(self) -> type:
        """Of stored values."""
        if self.name == "float":
            return np.float32
        return np.int16 if FIXED[self.name][0] == 16 else np.int32

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Real numbers as stored values.

        Raises:
            OverflowError: a number is outside the format's range.
        """
        if self.name == "float":
            return np.asarray(x, np.float32)
        bits, frac = FIXED[self.name]
        raw = np.floor(np.asarray(x, np.float64) * 2**frac + 0.5)
        if raw.size and not -(2 ** (bits - 1)) <= raw.min() <= raw.max() < 2 ** (bits - 1):
            raise OverflowError(f"{self.name} cannot hold {x}")
        result: np.ndarray = raw.astype(self.dtype)
        return result

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Stored values as real numbers."""
        return x.astype(np.float64) / (1 if self.name == "float" else 2 ** FIXED[self.name][1])

    def matmul(
        self, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, relu: bool = False
    ) -> np.ndarray:
        """bias + a @ b, stored values [rows, inner], [inner, columns], [columns]."""
        wide = self.precision if self.name == "float" else np.int64
        a, b = a.astype(wide), b.astype(wide)
        out: np.ndarray = np.zeros((len(a), b.shape[1]), wide)
        if bias is not None:
            out += bias.astype(wide)
        for i in range(a.shape[1]):
            out = self._fit(out + self._product(a[:, i, None] * b[None, i]))
        if relu:
            out = np.maximum(out, 0)
        return out.astype(self.dtype)

    def _product(self, product: np.ndarray) -> np.ndarray:
        """A product of raw integers, rounded; a float as it is."""
        if self.name == "float":
            return product
        frac = FIXED[self.name][1]
        half = (1 << frac) >> 1 if self.rounding == "nearest" else 0
        return self._fit((product + half) >> frac)

    def _fit(self, x: np.ndarray) -> np.ndarray:
        if self.name == "float":
            return x
        bound = 1 << (FIXED[self.name][0] - 1)
        if self.overflow == "saturate":
            result: np.ndarray = np.clip(x, -bound, bound - 1)
            return result
        return ((x + bound) & (2 * bound - 1)) - bound


def from_entry(entry: dict[str, Any]) -> Format:
    """The format of a layer, as its entry in a config says it."""
    return Format(entry["format"], entry.get("rounding", "nearest"), entry.get("overflow", "wrap"))
