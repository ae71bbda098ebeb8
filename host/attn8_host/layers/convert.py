"""int8 to a fixed-point format."""

from dataclasses import dataclass

import numpy as np

from ..numerics.formats import Format


@dataclass
class Convert:
    """Raw integers x << shift: x stands for x * 2**(shift - frac)."""

    format: Format
    shift: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x.astype(np.int64) << self.shift).astype(self.format.dtype)
