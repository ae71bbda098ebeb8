"""Two-pass softmax attention over one head; the device module of the same name is its twin."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics import INT32, bit_length, exp2, int32, requant

MAX_KEYS = 516  # 516 * 32768 * 127 is the largest sum of weighted values below 2**31


@dataclass
class Exact:
    """out = softmax(q @ k.T * scale) @ v in integers; the constants hold the scales.

    After a call, `scores` int32 [S, S] (masked: -2**31), `weights` uint16 [S, S] (softmax
    numerators in Q15, unnormalised) and `sums` int32 [S] (their row sums) hold what it computed.
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    causal: bool = False

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {"scores": self.scores, "weights": self.weights, "sums": self.sums}

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D]."""
        seq_len = len(k)
        masked = np.zeros((len(q), seq_len), bool)
        if self.causal:
            masked = np.triu(np.ones_like(masked), 1)
        scores = int32(q.astype(np.int64) @ k.astype(np.int64).T)
        largest = np.where(masked, INT32.min, scores).max(axis=1, keepdims=True)
        difference = largest - scores
        kept = ~masked & (difference <= self.score_limit)
        t = int32(np.where(kept, difference, 0) * self.score_mult)
        t = int32(t + ((1 << self.score_shift) >> 1)) >> self.score_shift
        weights = np.where(kept, exp2(t), 0)
        sums = int32(weights.sum(axis=1))
        self.scores = np.where(masked, INT32.min, scores).astype(np.int32)
        self.weights = weights.astype(np.uint16)
        self.sums = sums.astype(np.int32)

        # One division a row: the sum is brought to 16 bits, and the ratio to a multiplier
        p = np.maximum(bit_length(sums) - 16, 0)
        divisor = int32(sums + ((np.int64(1) << p) >> 1)) >> p
        mult = int32(self.out_num + (divisor >> 1)) // divisor
        total = int32(weights @ v.astype(np.int64))
        return requant(total >> p[:, None], mult[:, None], self.out_shift)
