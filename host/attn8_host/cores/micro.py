"""The original ESP32 attention, kept exactly: shifts for scales and a line for the exponential.

Source: MicroAttention, a Rust module for ESP32. As there, a masked key keeps a weight of 1 before
the division, which adds to the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.integers import int32
from ..schema import MAX_INPUTS, SIZE, between
from .base import Core, Variant

MASKED = -(1 << 30)


@dataclass
class Micro:
    """Integer attention with scores >> scale_shift and softmax weights in 1/256.

    After a call, `weights` int32 [S, S] holds the weights; each row sums to 256 or a little less.

    window: the original's sliding window, which sees the last `window` tokens alone, kept in a
    ring, and shifts by 3 whatever head_dim; `weights` int32 [window] are then those of the last
    query, by slot.

    Raises:
        ValueError: a window without causal.
    """

    max_seq_len: ClassVar[int] = 1 << 15

    causal: bool = False
    window: int | None = None
    output: str = "int8"  # or "int32", as the original has it: the same values

    def __post_init__(self) -> None:
        if self.window is not None and not self.causal:
            raise ValueError("causal: expected True with a window, got False")

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where sums leave int32."""
        between("head_dim", head_dim, 1, MAX_INPUTS)

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights}

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: as Exact has it; a query that sees no key takes the mean of all. With
                a window [S], and hidden tokens never come into it.
        """
        if self.window is not None:
            hidden = np.zeros(len(q)) if key_padding_mask is None else key_padding_mask
            return self._slide(q, k, v, self.window, hidden != 0)
        scores = self.compute_scores(q, k)
        if self.causal:
            scores[np.triu_indices_from(scores, 1)] = MASKED
        if key_padding_mask is not None:
            scores = np.where(key_padding_mask != 0, MASKED, scores)
        self.weights = self.softmax_fixed(scores).astype(np.int32)
        return self.weighted_sum(self.weights, v).astype(self.output)

    def _slide(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int, hidden: np.ndarray
    ) -> np.ndarray:
        self.weights = np.zeros(window, np.int32)
        rows = []
        shown = np.flatnonzero(~hidden)
        for t, query in enumerate(q.astype(np.int64)):
            seen = shown[shown <= t][-window:]
            weights = np.zeros(0, np.int64)
            if len(seen):
                weights = self.softmax_fixed(int32(k[seen].astype(np.int64) @ query) >> 3)
            self.weights[np.searchsorted(shown, seen) % window] = weights
            rows.append(self.weighted_sum(weights, v[seen]))
        return np.stack(rows).astype(self.output)

    @staticmethod
    def compute_scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q @ k.T >> scale_shift, int64 [..., keys]; the shift stands for 1 / sqrt(head_dim)."""
        head_dim = k.shape[-1]
        scale_shift = 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1
        return int32(q.astype(np.int64) @ k.astype(np.int64).T) >> scale_shift

    @staticmethod
    def softmax_fixed(scores: np.ndarray) -> np.ndarray:
        """max(256 + max(x, -512) / 2, 1) * 256 / sum over the last axis, x = score - maximum."""
        x = np.maximum(scores - scores.max(axis=-1, keepdims=True), -512)
        numerators = np.maximum(256 - (-x >> 1), 1)  # truncated towards zero, x being negative
        result: np.ndarray = numerators * 256 // numerators.sum(axis=-1, keepdims=True)
        return result

    @staticmethod
    def weighted_sum(weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        """weights @ v >> 8, int64 [..., head_dim]."""
        return int32(weights.astype(np.int64) @ v.astype(np.int64)) >> 8


def micro_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float,
    window: int | None = None,
) -> dict[str, int]:
    """The micro core has none: its output has the scale of v, and scores no scale at all."""
    return {}


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    steps: Sequence[float],
    window: int | None = None,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """The original ESP32 attention without its truncations; it sees q and k in steps of int8."""
    head_dim = q.shape[-1]
    shift = 3 if head_dim >= 32 or window else 2 if head_dim >= 16 else 1
    scores = (q / steps[0]) @ np.swapaxes(k / steps[1], -1, -2) / 2**shift
    if causal:
        scores = np.where(np.triu(np.ones(scores.shape[-2:], bool), 1), -(2.0**30), scores)
    seen = np.ones(scores.shape[-2:], bool)
    if window:  # what lies before it, or never comes into it, has no weight, not even 1
        hidden = np.zeros(len(seen), bool) if hidden is None else hidden
        tokens = np.cumsum(~hidden)
        seen = np.tril(seen) & ~hidden & (tokens > tokens[:, None] - window)
        scores = np.where(seen, scores, -(2.0**30))
    elif hidden is not None:
        scores = np.where(hidden, -(2.0**30), scores)
    x = scores - scores.max(axis=-1, keepdims=True)
    weights = np.maximum(256 + np.maximum(x, -512) / 2, 1) * seen
    result: np.ndarray = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1) @ v
    return result


CORE = Core(
    reference=Micro,
    make_constants=micro_constants,
    floating=floating,
    constants={},
    options={"window": SIZE},
    masks_keys=True,
    masks_pairs=True,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "window": Variant(causal=True, options={"window": 5}),
        "window, padded": Variant(causal=True, padded=True, options={"window": 3}),
    },
    output_scale=lambda peak, scale_v: scale_v,
)
