"""Softmax multi-head self-attention with its backward pass."""

import numpy as np

from ..parameter import Parameter
from .dense import Dense


class MultiHeadAttention:
    """[seq_len, embed_dim] -> [seq_len, embed_dim].

    Per head A = softmax(q @ k.T / sqrt(head_dim)) and context = A @ v. Backwards, with dctx the
    gradient of the context: dv = A.T @ dctx, dA = dctx @ v.T,
    dS = A * (dA - rowsum(dA * A)) / sqrt(head_dim), dq = dS @ k, dk = dS.T @ q.

    Args:
        f: the format of the numbers.
        num_heads: divides embed_dim.
        q, k, v, out: the projections.
        recompute: the backward pass computes A again, a query row at a time. That sums dv and dk
            row by row, which rounds differently; all else is the same.
    """

    def __init__(self, f, num_heads: int, q: Dense, k: Dense, v: Dense, out: Dense,
                 recompute: bool = False):
        embed_dim = len(q.bias.value)
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim: expected a multiple of num_heads {num_heads}, got {embed_dim}"
            )
        self.f = f
        self.num_heads = num_heads
        self.q, self.k, self.v, self.out = q, k, v, out
        self.recompute = recompute
        self._scale = f.softmax_scale(1, embed_dim // num_heads)

    def _heads(self, x: np.ndarray) -> list[np.ndarray]:
        return np.split(x, self.num_heads, axis=1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        f = self.f
        heads = zip(*(self._heads(p(x)) for p in (self.q, self.k, self.v)), strict=True)
        self.weights = []
        context = []
        for q, k, v in heads:
            self.weights.append(f.softmax(f.product(q, k), self._scale)[0])
            context.append(f.product(self.weights[-1], v.T))
        return self.out(np.concatenate(context, axis=1))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f = self.f
        parts: list[list[np.ndarray]] = [[], [], []]
        tensors = (self.out.backward(grad), self.q.out, self.k.out, self.v.out)
        for weights, dcontext, q, k, v in zip(
            self.weights, *(self._heads(t) for t in tensors), strict=True
        ):
            if self.recompute:
                weights = f.softmax(f.product(q, k), self._scale)[0]
            d = f.softmax_backward(weights, f.product(dcontext, v), self._scale)
            dk, dv = np.zeros_like(k), np.zeros_like(v)
            rows = len(q)
            block = 1 if self.recompute else rows
            for i in range(0, rows, block):
                part = slice(i, i + block)
                dv = f.product(weights[part].T, dcontext[part].T, dv)
                dk = f.product(d[part].T, q[part].T, dk)
            for gradient, found in zip(parts, (f.product(d, k.T), dk, dv), strict=True):
                gradient.append(found)
        dq, dk, dv = (np.concatenate(part, axis=1) for part in parts)
        dx = f.add(self.q.backward(dq), self.k.backward(dk))
        return f.add(dx, self.v.backward(dv))

    def collect_params(self) -> list[Parameter]:
        return [p for part in (self.q, self.k, self.v, self.out) for p in part.collect_params()]
