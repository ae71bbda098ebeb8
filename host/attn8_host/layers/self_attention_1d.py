"""Linear self-attention without normalisation, in fixed point or floats."""

from dataclasses import dataclass

import numpy as np

from ..numerics.formats import Format


@dataclass
class SelfAttention1D:
    """q @ (k.T @ v) with q = relu(x @ w_q + b_q), k = relu(x @ w_k + b_k), v = x @ w_v + b_v.

    weights [3, embed_dim, projection_dim] and biases [3, projection_dim] in the format.
    Source: TinyMind's SelfAttention1D. After a call `outputs` holds q, k, v and kv.
    """

    weights: np.ndarray
    biases: np.ndarray
    format: Format

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[seq_len, embed_dim] -> [seq_len, projection_dim], in the format."""
        matmul = self.format.matmul
        q, k, v = (matmul(x, self.weights[i], self.biases[i], relu=i < 2) for i in range(3))
        kv = matmul(k.T, v)
        self.outputs = {"q": q, "k": k, "v": v, "kv": kv}
        return matmul(q, kv)
