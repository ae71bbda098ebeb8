"""Multi-head self-attention."""

from collections.abc import Callable, Mapping

import numpy as np

from .cores import CORES


class MultiHeadAttention:
    """int8 [seq_len, embed_dim] -> [seq_len, embed_dim], with any core.

    Args:
        num_heads: divides embed_dim.
        linears: the layers q, k, v and out.
        constants: keywords of the core.
        core: its name.
        causal: whether a token attends only to itself and those before it.

    After a call `outputs` holds q, k, v and heads as [num_heads, seq_len, head_dim] and each head's
    scores, weights and sums, under the names that the board uses.

    Raises:
        ValueError: embed_dim is no multiple of num_heads.
    """

    def __init__(
        self,
        num_heads: int,
        linears: Mapping[str, Callable],
        constants: dict[str, int],
        core: str = "exact",
        causal: bool = False,
    ):
        self.num_heads = num_heads
        self.linears = linears
        self.cores = [CORES[core](**constants, causal=causal) for _ in range(num_heads)]
        self.outputs: dict[str, np.ndarray] = {}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        seq_len, embed_dim = x.shape
        if embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim: expected a multiple of num_heads {self.num_heads}, got {embed_dim}"
            )
        shape = (seq_len, self.num_heads, embed_dim // self.num_heads)
        q, k, v = (
            self.linears[part](x).reshape(shape).transpose(1, 0, 2) for part in ("q", "k", "v")
        )
        heads = np.stack([core(*qkv) for core, *qkv in zip(self.cores, q, k, v, strict=True)])
        self.outputs = {"q": q, "k": k, "v": v}
        for h, core in enumerate(self.cores):
            self.outputs[f"scores.{h}"] = core.scores
            self.outputs[f"weights.{h}"] = core.weights
            self.outputs[f"sums.{h}"] = core.sums
        self.outputs["heads"] = heads
        return self.linears["out"](heads.transpose(1, 0, 2).reshape(seq_len, embed_dim))
