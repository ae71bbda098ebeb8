"""Softmax attention over the pairs that a mask shows: the exact core, under that mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..masks import Mask, build, causal
from .exact import MAX_KEYS, Exact


@dataclass
class Sparse:
    """out = softmax(q @ k.T * scale) @ v over the pairs of the mask; a query without keys gives 0.

    After a call, `scores` int32 [pairs], `pairs` uint16 [pairs, 2] (key, and softmax numerator in
    Q15) row after row, and `sums` int32 [S] (of each row's numerators) hold what it computed.

    Args:
        mask: a Mask, its bits (see Mask.to_bits) or its description (see masks.build).
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    mask: Mask | np.ndarray | Sequence
    causal: bool = False

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {"scores": self.scores, "pairs": self.pairs, "sums": self.sums}

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Raises:
            ValueError: the mask is none of this sequence length.
        """
        seen = self.seen(len(q))
        exact = Exact(
            self.score_mult, self.score_shift, self.score_limit, self.out_num, self.out_shift
        )
        out = exact(q, k, v, ~seen)
        self.scores = exact.scores[seen]
        keys = np.nonzero(seen)[1]
        self.pairs = np.stack([keys, exact.weights[seen]], axis=1).astype(np.uint16)
        self.sums = exact.sums
        return out

    def seen(self, seq_len: int) -> np.ndarray:
        """bool [S, S]: which keys each query attends to."""
        mask = self.mask
        if isinstance(mask, np.ndarray):
            mask = Mask.from_bits(seq_len, mask)
        elif not isinstance(mask, Mask):
            mask = build(seq_len, *mask)
        if mask.seq_len != seq_len:
            raise ValueError(f"mask: expected one of seq_len {seq_len}, got {mask.seq_len}")
        if self.causal:
            mask = mask.intersection(causal(seq_len))
        return mask.dense
