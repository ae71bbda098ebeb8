"""Softmax attention over one head in int16; the device module of the same name is its twin."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.integers import EXP2, bit_length, int32, rounded, saturated
from ..numerics.scales import output_constants, requant_constants
from ..schema import MAX_INPUTS, MULT, SHIFT, between, within
from .base import OUTPUT, Core, Variant
from .exact import MAX_KEYS, TrainableExact, floating, masked_scores

OCTAVES = 16  # below the largest, a softmax numerator is 0
FRACTION = 14  # bits of an octave
TOTAL = 63 << 24  # of the weights of a row, times 2**15: 32256, and with rounding below 2**15


def most(head_dim: int) -> dict[str, int]:
    """The largest magnitudes: those of q and k keep scores below 2**29."""
    largest = min(math.isqrt(((1 << 29) - 1) // head_dim), 32767)
    return {"q": largest, "k": largest, "v": 32767}


@dataclass
class Exact16:
    """out = softmax(q @ k.T * scale) @ v in integers; the constants hold the scales.

    After a call, `scores` int32 [S, K] (masked: -2**30), `weights` uint16 [S, K] (of each row about
    32256 in all) and `sums` int32 [S] (their row sums) hold what it computed.
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    score_mult: int
    score_shift: int
    out_num: int
    out_shift: int
    causal: bool = False

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes."""
        between("seq_len", seq_len, 1, MAX_KEYS)
        between("key_len", keys, 1, MAX_KEYS)
        between("head_dim", head_dim, 1, MAX_INPUTS)
        if self.causal and keys != seq_len:
            raise ValueError(f"causal: expected key_len {seq_len} as seq_len, got {keys}")

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("scores", "weights", "sums")}

    def __call__(
        self,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int16 q [S, D], k and v [K, D] within `most`; returns int16 [S, D].

        Args:
            key_padding_mask: as Exact has it.
        """
        masked, scores = masked_scores(q, k, self.causal, key_padding_mask)
        difference = np.where(masked, 0, scores.max(axis=1, keepdims=True) - scores)
        t = rounded(difference, self.score_mult, self.score_shift)
        numerators = np.where(masked | (t >= OCTAVES << FRACTION), 0, exp2(t))
        weights = normalized(numerators)
        sums = int32(weights.sum(axis=1))
        self.scores = scores.astype(np.int32)
        self.weights = weights.astype(np.uint16)
        self.sums = sums.astype(np.int32)
        mult = int32(self.out_num + (sums >> 1)) // np.maximum(sums, 1)
        mult = np.where(sums == 0, 0, mult)[:, None]
        totals = int32(weights @ v.astype(np.int64))
        return saturated(rounded(totals, mult, self.out_shift), "int16")


def exp2(t: np.ndarray) -> np.ndarray:
    """2**(15 - t / 2**FRACTION) for t >= 0, rounded, on the line between two entries of EXP2."""
    table = np.append(EXP2, 32768)
    i, rest = t >> FRACTION - 8 & 255, t & (1 << FRACTION - 8) - 1
    value = table[i] - ((table[i] - table[i + 1]) * rest >> FRACTION - 8)
    result: np.ndarray = ((value >> np.minimum(t >> FRACTION, 30)) + 1) >> 1
    return result


def normalized(numerators: np.ndarray) -> np.ndarray:
    """Softmax numerators [S, K] to about 32256 a row, with one division; a row of 0 stays so."""
    sums = int32(numerators.sum(axis=1, keepdims=True))
    p = np.maximum(bit_length(sums) - 16, 0)
    divisor = int32(sums + ((np.int64(1) << p) >> 1)) >> p
    mult = int32(TOTAL + (divisor >> 1)) // np.maximum(divisor, 1)
    products = int32(numerators * np.where(sums == 0, 0, mult))
    result: np.ndarray = int32(products + (np.int64(1) << (14 + p))) >> (15 + p)
    return result


def exact16_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float
) -> dict[str, int]:
    """The constants of the core.

    Raises:
        ValueError: scores of more octaves than the integers have room for.
    """
    octaves = scale_q * scale_k / math.sqrt(head_dim) * math.log2(math.e)
    try:
        mult, shift = requant_constants(octaves * 2**FRACTION)
    except ValueError:
        raise ValueError(f"score scale: expected 2**-45 to 2**-15 octaves, got {octaves:g}; give "
                         'the layer "activation_bits": 8') from None
    num, out_shift = output_constants(scale_v / scale_out)
    return {"score_mult": mult, "score_shift": shift, "out_num": num, "out_shift": out_shift}


def output_scale(peak: float, scale_v: float) -> float:
    """Of outputs whose largest magnitude is `peak`: with as much room again, and no finer than an
    eighth of the scale of v."""
    return max(peak / 16383, scale_v / 8)


CORE = Core(
    reference=Exact16,
    trainable=TrainableExact,
    format="int16",
    masks_keys=True,
    masks_pairs=True,
    most=most,
    make_constants=exact16_constants,
    floating=floating,
    constants={"score_mult": MULT, "score_shift": SHIFT, **OUTPUT},
    options={"block_rows": within(1, MAX_KEYS)},
    output_scale=output_scale,
    most_lsb=0.2,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "cross": Variant(key_len=7),
    },
)
