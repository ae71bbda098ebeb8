"""Linear self-attention with its backward pass."""

import numpy as np

from ..parameter import Parameter
from .dense import Dense
from .relu import ReLU


class SelfAttention1D:
    """[seq_len, embed_dim] -> [seq_len, proj_dim]: q, k through ReLU, kv = k.T @ v, out = q @ kv.

    Backwards dq = grad @ kv.T, dkv = q.T @ grad, dk = v @ dkv.T, dv = k @ dkv.

    Args:
        f: the format of the numbers.
        q, k, v: the projections.
    """

    def __init__(self, f, q: Dense, k: Dense, v: Dense):
        self.f = f
        self.q, self.k, self.v = q, k, v
        self._relu_q, self._relu_k = ReLU(), ReLU()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self._q, self._k = self._relu_q(self.q(x)), self._relu_k(self.k(x))
        self._kv = self.f.product(self._k.T, self.v(x).T)
        return self.f.product(self._q, self._kv.T)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f = self.f
        grad = grad.reshape(self._q.shape)
        dq = f.product(grad, self._kv)
        dkv = f.product(self._q.T, grad.T)
        dk = f.product(self.v.out, dkv)
        dv = f.product(self._k, dkv.T)
        dx = f.add(self.q.backward(self._relu_q.backward(dq)),
                   self.k.backward(self._relu_k.backward(dk)))
        return f.add(dx, self.v.backward(dv))

    def collect_params(self) -> list[Parameter]:
        return [p for part in (self.q, self.k, self.v) for p in part.collect_params()]
