"""Mean over the tokens with its backward pass."""

import numpy as np

from ..parameter import Parameter


class GlobalAvgPool:
    """[seq_len, embed_dim] -> [embed_dim]."""

    def __init__(self, f, seq_len: int):
        self.f = f
        self.seq_len = seq_len
        self._factor = f.factor(1, seq_len)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = x.reshape(self.seq_len, -1)
        return self.f.scale(self.f.column_sums(x, np.zeros_like(x[0])), self._factor)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        share = self.f.scale(grad, self._factor)
        return np.broadcast_to(share, (self.seq_len, share.size)).copy()

    def collect_params(self) -> list[Parameter]:
        return []
