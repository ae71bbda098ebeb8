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
from .exact import MAX_KEYS, floating, normalize

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
        # Every score, which is at most 2**14 * head_dim, must stay in int32 as a logarithm
        largest = ((1 << 31) - 1 - (1 << self.score_shift - 1)) // (head_dim << 14)
        between("score_mult", self.score_mult, 0, largest)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: as Exact has it.
        """
        seq_len = len(q)
        hidden = np.zeros((seq_len, seq_len), bool)
        if key_padding_mask is not None:
            hidden |= key_padding_mask != 0
        at = np.arange(seq_len)
        scores = int32(q.astype(np.int64) @ k.astype(np.int64).T)
        t = int32(scores * self.score_mult + (1 << (self.score_shift - 1))) >> self.score_shift
        octaves = np.full(seq_len, LOWEST, np.int64)
        sums = np.zeros(seq_len, np.int64)
        totals = np.zeros(v.shape, np.int64)
        for j in range(seq_len):
            seen = ~hidden[:, j] & (at >= j if self.causal else True)  # the rows that see this key
            risen = np.maximum(octaves[seen], (t[seen, j] + 255) >> 8)
            steps = np.minimum(risen - octaves[seen], 31)
            full = (sums[seen] >> steps) > FULL
            risen, steps = risen + full, steps + full
            octaves[seen] = risen
            below = (risen << 8) - t[seen, j]
            weights = exp2(np.minimum(below, 30 * 256 + (below & 255)))
            sums[seen] = int32((sums[seen] >> steps) + weights)
            totals[seen] = int32(
                (totals[seen] >> steps[:, None]) + weights[:, None] * v[j].astype(np.int64)
            )
        self.outputs = {"octaves": octaves.astype(np.int32), "sums": sums.astype(np.int32)}
        return normalize(totals, sums, self.out_num, self.out_shift)


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
    make_constants=flash_constants,
    floating=floating,
    constants={"score_mult": INTEGER, "score_shift": within(8, 24), **OUTPUT},
    options={"block_size": within(1, MAX_KEYS)},
    masks_keys=True,
    masks_pairs=True,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "block 5": Variant(options={"block_size": 5}),
    },
)
