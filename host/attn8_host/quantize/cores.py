"""The integer constants of each attention core, from the scales of its operands.

A function here is called with head_dim, the scales of q, k, v and of the core's output, and the
core's options as keywords; it returns the core's other keywords. The device core checks ranges.
"""

import math
from collections.abc import Callable
from typing import Any

from .integers import logarithm_constants, output_constants, score_constants


def heads_scale(peak: float, scale_v: float) -> float:
    """The scale of attention outputs whose largest magnitude is `peak`.

    Averaging shrinks them, so they get a finer scale than v, but at most 8 times as fine: below
    that the rounding of the weights would show.
    """
    return max(peak / 127, scale_v / 8)


def exact_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float,
    precise: bool = False,
) -> dict[str, int]:
    """The constants of the exact core; the second pass of `precise` reaches 24 octaves down."""
    scale = scale_q * scale_k / math.sqrt(head_dim)
    mult, shift, limit = score_constants(scale, head_dim, 24 if precise else 16)
    num, out_shift = output_constants(scale_v / scale_out)
    return {
        "score_mult": mult,
        "score_shift": shift,
        "score_limit": limit,
        "out_num": num,
        "out_shift": out_shift,
    }


def decode_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float, cache_len: int
) -> dict[str, int]:
    """Those of the exact core; cache_len: an option of the core, on which none depends."""
    return exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)


def sliding_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float, window: int
) -> dict[str, int]:
    """Those of the exact core; window: an option of the core, on which none depends."""
    return exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)


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


def sparse_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float,
    mask: Any = None,
) -> dict[str, int]:
    """Those of the exact core; mask: an option of the core, on which none depends."""
    return exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)


CONSTANTS: dict[str, Callable[..., dict]] = {
    "decode": decode_constants,
    "exact": exact_constants,
    "flash": flash_constants,
    "sliding": sliding_constants,
    "sparse": sparse_constants,
}
