"""The integer constants of each attention core, from the scales of its operands.

A function here is called with head_dim, the scales of q, k, v and of the core's output, and the
core's options as keywords; it returns the core's other keywords. The device core checks ranges.
"""

import math
from collections.abc import Callable

from .integers import output_constants, score_constants


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


CONSTANTS: dict[str, Callable[..., dict]] = {
    "exact": exact_constants,
}
