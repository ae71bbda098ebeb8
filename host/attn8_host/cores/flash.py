"""One-pass (online) softmax attention over one head; the device module of that name is its twin.

Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
"FlashAttention", 2022; with a reference that moves in whole octaves, so that rescaling is a shift.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.integers import exp2, int32
from ..numerics.scales import logarithm_constants, output_constants
from ..schema import INTEGER, MAX_INPUTS, between, within
from .base import OUTPUT, Core, Variant
from .exact import MAX_KEYS, TrainableExact, floating, normalize

LOWEST = -(1 << 22)  # below every octave that a score can have
FULL = (MAX_KEYS - 1) << 15  # a sum that can take one weight more


@dataclass
class Flash:
    """out = softmax(q @ k.T * scale) @ v in integers, key by key.

    The reference octave rises also where a sum of weights is full, so that there may be any number
    of keys. A score stands for score * score_mult / 2**score_shift 1/256 octaves. `block_size` is
    the device's; the result does not depend on it. After a call `outputs` holds each row's last
    reference octave and its sum of weights, `octaves` and `sums` int32 [S].
    """

    max_seq_len: ClassVar[int] = 1 << 15

    score_mult: int
    score_shift: int
    out_num: int
    out_shift: int
    causal: bool = False
    block_size: int = 16

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes."""
        between("head_dim", head_dim, 1, MAX_INPUTS)
        between("score_mult", self.score_mult, 0, largest_mult(self.score_shift, head_dim))

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: as Exact has it.
        """
        seen = np.ones((len(q), len(q)), bool)
        if self.causal:
            seen = np.tril(seen)
        if key_padding_mask is not None:
            seen &= key_padding_mask == 0
        scores = int32(q.astype(np.int64) @ k.astype(np.int64).T)
        octaves, sums, totals = one_pass(scores, seen, v, self.score_mult, self.score_shift)
        self.outputs = {"octaves": octaves.astype(np.int32), "sums": sums.astype(np.int32)}
        return normalize(totals, sums, self.out_num, self.out_shift)


def one_pass(
    scores: np.ndarray, seen: np.ndarray, v: np.ndarray, score_mult: int, score_shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row's last octave, its sum of weights, int64 [S], and of weighted values, [S, D].

    Args:
        scores: int64 [S, K].
        seen: bool [S, K], which keys count.
        v: int8 [K, D].
        score_mult, score_shift: from a score to 1/256 octaves, as Flash has them.
    """
    t = int32(scores * score_mult + (1 << (score_shift - 1))) >> score_shift
    octaves = np.full(len(scores), LOWEST, np.int64)
    sums = np.zeros(len(scores), np.int64)
    totals = np.zeros((len(scores), v.shape[1]), np.int64)
    for j in range(len(v)):
        rows = seen[:, j]
        risen = np.maximum(octaves[rows], (t[rows, j] + 255) >> 8)
        steps = np.minimum(risen - octaves[rows], 31)
        full = (sums[rows] >> steps) > FULL
        risen, steps = risen + full, steps + full
        octaves[rows] = risen
        below = (risen << 8) - t[rows, j]
        weights = exp2(np.minimum(below, 30 * 256 + (below & 255)))
        sums[rows] = int32((sums[rows] >> steps) + weights)
        totals[rows] = int32(
            (totals[rows] >> steps[:, None]) + weights[:, None] * v[j].astype(np.int64)
        )
    return octaves, sums, totals


def one_pass_constants(score_mult: int, score_shift: int, head_dim: int) -> tuple[int, int]:
    """score_mult and score_shift of two passes, with as many bits less as one pass has.

    Raises:
        ValueError: a score would be 2**15 octaves or more.
    """
    mult, shift = score_mult, score_shift
    while shift > 24 or (shift > 8 and mult > largest_mult(shift, head_dim)):
        shift -= 1
        bits = score_shift - shift
        mult = (score_mult + (1 << bits >> 1)) >> bits
    between("score_shift", shift, 8, 24)
    between("score_mult", mult, 0, largest_mult(shift, head_dim))
    return mult, shift


def largest_mult(shift: int, head_dim: int) -> int:
    """That every score, which is at most 2**14 * head_dim, stays in int32 as a logarithm."""
    return ((1 << 31) - 1 - (1 << (shift - 1))) // (head_dim << 14)


def flash_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    block_size: int = 16,
) -> dict[str, int]:
    """The constants of the flash core; block_size: an option of it, on which none depends."""
    octaves = scale_q * scale_k / math.sqrt(head_dim) * math.log2(math.e)
    mult, shift = logarithm_constants(octaves, head_dim)
    num, out_shift = output_constants(scale_v / scale_out)
    return {"score_mult": mult, "score_shift": shift, "out_num": num, "out_shift": out_shift}


CORE = Core(
    reference=Flash,
    trainable=TrainableExact,  # the one pass is the softmax of all scores
    make_constants=flash_constants,
    floating=floating,
    constants={"score_mult": INTEGER, "score_shift": within(8, 24), **OUTPUT},
    options={"block_size": within(1, MAX_KEYS)},
    masks_keys=True,
    masks_pairs=True,
    most_lsb=0.9,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "block 5": Variant(options={"block_size": 5}),
    },
)
