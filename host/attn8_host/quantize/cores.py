"""The integer constants of each attention core, from the scales of its operands.

A function here is called with head_dim, the scales of q, k, v and of the core's output, and the
core's options as keywords; it returns the core's other keywords. The device core checks ranges.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..numerics import floating
from ..numerics.scales import logarithm_constants, output_constants, quantize, score_constants

MAX_FEATURE = 4095  # of the tables of ELU+1: 12 bits


def heads_scale(peak: float, scale_v: float, core: str = "exact") -> float:
    """The scale of a core's outputs whose largest magnitude is `peak`.

    Averaging shrinks them, so they get a finer scale than v, but at most 8 times as fine: below
    that the rounding of the weights would show. The micro core gives them the scale of v.
    """
    return scale_v if core == "micro" else max(peak / 127, scale_v / 8)


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
) -> dict[str, Any]:
    """Those of the exact core, which depend on no mask; the bits of the heads' masks stay."""
    constants = exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)
    return {**constants, "mask": mask} if isinstance(mask, np.ndarray) else constants


def linear_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    phi: str = "relu+1",
    normalise: bool = True,
) -> dict[str, int | list[int]]:
    """The constants of the linear core; with phi = "elu+1" its tables as well."""
    ratio = scale_v / scale_out
    if not normalise:
        ratio *= 2**24 if phi == "elu+1" else 2**16 * scale_q * scale_k
    constants: dict[str, int | list[int]] = {}
    for name, scale in (("table_q", scale_q), ("table_k", scale_k)):
        if phi == "elu+1":
            table = floating.elu_plus_one(np.arange(256, dtype=np.uint8).view(np.int8) * scale)
            unit = float(table.max()) / MAX_FEATURE
            constants[name] = [max(1, math.floor(y / unit + 0.5)) for y in table]
            if not normalise:
                ratio *= unit
    constants["out_num"], constants["out_shift"] = output_constants(ratio)
    return constants


def performer_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    features: np.ndarray,
) -> dict[str, int | np.ndarray]:
    """The constants of the performer core, and its features as int8.

    Args:
        features: float [num_heads, num_features, head_dim], see random_features.
    """
    scale = float(np.abs(features).max()) / 127
    octaves = scale * math.log2(math.e) / head_dim**0.25
    num, out_shift = output_constants(scale_v / scale_out)
    constants: dict[str, int | np.ndarray] = {"out_num": num, "out_shift": out_shift}
    for name, each in (
        ("query", scale_q * octaves),
        ("key", scale_k * octaves),
        ("norm", scale_k**2 * math.log2(math.e) / math.sqrt(head_dim) / 2),
    ):
        constants[f"{name}_mult"], constants[f"{name}_shift"] = logarithm_constants(each, head_dim)
    constants["features"] = quantize(features, scale)
    return constants


def random_features(
    num_heads: int, num_features: int, head_dim: int, seed: int, orthogonal: bool = True
) -> np.ndarray:
    """The random projections of FAVOR+, float [num_heads, num_features, head_dim].

    Normal vectors; orthogonal: the rows of random orthogonal matrices, with the norms that normal
    vectors have (Choromanski et al., 2021, section 2.4).

    Raises:
        ValueError: num_features is not a whole number from 1.
    """
    if not (isinstance(num_features, int) and num_features > 0):
        raise ValueError(f"features: expected a whole number from 1, got {num_features}")
    rng = np.random.default_rng(seed)
    if not orthogonal:
        return rng.normal(size=(num_heads, num_features, head_dim))
    blocks = -(-num_features // head_dim)
    q, _ = np.linalg.qr(rng.normal(size=(num_heads, blocks, head_dim, head_dim)))
    norms = np.sqrt(rng.chisquare(head_dim, size=(num_heads, blocks, head_dim, 1)))
    return (q * norms).reshape(num_heads, -1, head_dim)[:, :num_features]


def local_global_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    gate: np.ndarray,
    window: int,
    global_indices: Sequence[int],
) -> dict[str, int | np.ndarray]:
    """The constants of the local_global core, and its gate in Q15 as uint16 [num_heads, head_dim].

    Args:
        gate: what the sigmoid is taken of, float [num_heads, head_dim].
        window, global_indices: options of the core; no constant depends on them.
    """
    constants = exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out / 32)
    blend = np.floor(32768 / (1 + np.exp(-np.asarray(gate, np.float64))) + 0.5)
    return {**constants, "gate": blend.astype(np.uint16)}


def micro_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float
) -> dict[str, int]:
    """The micro core has none: its output has the scale of v, and scores no scale at all."""
    return {}


CONSTANTS: dict[str, Callable[..., dict]] = {
    "decode": decode_constants,
    "exact": exact_constants,
    "flash": flash_constants,
    "sliding": sliding_constants,
    "sparse": sparse_constants,
    "linear": linear_constants,
    "local_global": local_global_constants,
    "micro": micro_constants,
    "performer": performer_constants,
}
