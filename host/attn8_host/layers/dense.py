"""Fully connected layer."""

from dataclasses import dataclass

import numpy as np

from ..numerics.integers import int32, requant


@dataclass
class Dense:
    """x @ weight.T + bias; int8 [rows, inputs] -> [rows, outputs].

    weight int8 [outputs, inputs], bias int32 [outputs]; with mult int16 [outputs] and shift int8
    [outputs] the results are requantised to int8, without them they are the int32 sums.
    """

    weight: np.ndarray
    bias: np.ndarray
    mult: np.ndarray | None = None
    shift: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        sums = int32(x.astype(np.int64) @ self.weight.astype(np.int64).T + self.bias)
        if self.mult is None or self.shift is None:
            return sums.astype(np.int32)
        return requant(sums, self.mult, self.shift)
