"""Mean over the tokens."""

from dataclasses import dataclass

import numpy as np

from ..numerics.integers import int32, requant


@dataclass
class MeanPool:
    """int8 [seq_len, embed_dim] -> [embed_dim]; (mult, shift) hold the division by seq_len."""

    mult: int
    shift: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return requant(int32(x.astype(np.int64).sum(axis=0)), self.mult, self.shift)
