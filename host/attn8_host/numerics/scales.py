"""A ratio of scales as the integers of the specification, computed in float64.

device/attn8/quantize.py has the same functions in the board's floats, for experiments.
"""

import math

import numpy as np


def requant_constants(ratio: float) -> tuple[int, int]:
    """(M, s) with M / 2**s ~ ratio, 2**14 <= M < 2**15 and 16 <= s <= 45.

    Raises:
        ValueError: the ratio is not within 2**-31 to 0.5.
    """
    mult, shift = scaled(ratio, 15)
    if not 16 <= shift <= 45:
        raise ValueError(f"ratio of scales: expected 2**-31 to 0.5, got {ratio}")
    return mult, shift


def finest(scale: float) -> float:
    """The finest scale to which values of another one can be requantized."""
    return 2 * (1 + 2**-15) * scale


def scaled(ratio: float, bits: int) -> tuple[int, int]:
    """(n, s) with n / 2**s ~ ratio and n of exactly `bits` bits."""
    mantissa, exponent = math.frexp(ratio)
    n, shift = math.floor(mantissa * 2**bits + 0.5), bits - exponent
    return (n >> 1, shift - 1) if n == 1 << bits else (n, shift)


def score_constants(scale: float, head_dim: int, octaves: int = 16) -> tuple[int, int, int]:
    """(score_mult M, score_shift Sh, score_limit D) for scores that stand for score * scale.

    A difference of scores becomes t = (diff * M + 2**(Sh - 1)) >> Sh, in 1/256 octaves; beyond D
    its softmax numerator is 0. The largest M that keeps every product below 2**31.

    Raises:
        ValueError: one step of the score would be 4 octaves or more.
    """
    step = scale * math.log2(math.e)
    largest = 2 * 127 * 127 * head_dim
    if not 0 < step < 4:
        raise ValueError(f"score scale: expected 0 to 2.77, got {scale}")
    span = min(256.0 * octaves, 256 * step * largest + 2)
    shift = min(28, math.floor(31 - math.log2(span)))
    while True:
        mult = max(1, math.floor(step * 2.0 ** (8 + shift) + 0.5))
        half = 1 << (shift - 1)
        limit = min(((octaves << (8 + shift)) - half - 1) // mult, largest)
        if limit * mult + half < 2**31 and mult < 2**30:
            return mult, shift, limit
        shift -= 1


def logarithm_constants(octaves: float, head_dim: int) -> tuple[int, int]:
    """(mult, shift): a sum of head_dim products stands for sum * mult / 2**shift 1/256 octaves.

    The largest that keeps 2**14 * head_dim * mult below 2**31.

    Raises:
        ValueError: the largest sum would be 2**15 octaves or more.
    """
    largest = head_dim << 14
    shift = min(24, math.floor(31 - math.log2(256 * octaves * largest)))
    while True:
        if shift < 8:
            raise ValueError(f"octaves of a product: expected less than 0.1, got {octaves}")
        mult = math.floor(256 * octaves * 2**shift + 0.5)
        if largest * mult + (1 << (shift - 1)) < 2**31:
            return mult, shift
        shift -= 1


def output_constants(ratio: float) -> tuple[int, int]:
    """(out_num NUM, out_shift u) with NUM / 2**u ~ ratio, 2**29 <= NUM < 2**30, 16 <= u <= 45.

    Raises:
        ValueError: the ratio is not within 2**-15 to 2**14.
    """
    num, shift = scaled(ratio, 30)
    if not 16 <= shift <= 45:
        raise ValueError(f"ratio of scales: expected 2**-15 to 16384, got {ratio}")
    return num, shift


def quantize(x: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """x / scale, rounded half up and clamped to +-127, as int8."""
    return np.clip(np.floor(np.asarray(x, np.float64) / scale + 0.5), -127, 127).astype(np.int8)


def narrowing(weight: np.ndarray) -> int:
    """By how many bits int16 goes down before its products with int8 weight [outputs, inputs] are
    summed: the fewest that keep every sum within 2**29."""
    most = np.abs(weight.astype(np.int64)).sum(axis=1).max()
    return next(down for down in range(16) if most * (32768 >> down) <= 1 << 29)


BLOCK = 1 << 20  # weights that are float64 at a time


def _integers(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int8 of the rows of a matrix, of which each has a scale."""
    found = np.empty(weight.shape, np.int8)
    rows = max(1, BLOCK // weight.shape[1])
    for i in range(0, len(weight), rows):
        found[i : i + rows] = quantize(weight[i : i + rows], scale[i : i + rows, None])
    return found


def wide_scales(weight: np.ndarray, bias: np.ndarray, scale_in: float) -> np.ndarray:
    """The scales of the rows that `linear` makes of a matrix that takes int16, with what its sums
    are narrowed by: float64 [outputs]."""
    scale = np.maximum(np.abs(weight).max(axis=1).astype(np.float64), 1e-12) / 127
    scale = np.maximum(scale, np.abs(bias) / scale_in / (2**29 - 1))
    found: np.ndarray = scale * 2 ** narrowing(_integers(weight, scale))
    return found


def linear(
    weight: np.ndarray, bias: np.ndarray, scale_in: float, scale_out: float | None,
    wide: bool = False,
) -> dict[str, np.ndarray]:
    """Quantizes out = x @ weight.T + bias, weight float [outputs, inputs].

    With `scale_out`, int8 results with one scale of the weights per output channel; without, int32
    sums that all stand for sum * scale_in * one scale of the weights. `wide`: x is int16, and a row
    whose bias would pass 2**29 gets a coarser scale: its weights hardly matter beside that.

    Returns:
        weight int8 [outputs, inputs], bias int32 [outputs], scale float32 [outputs] (of the
        weights, of sums of int16 where these are narrowed), and with `scale_out` mult int16
        [outputs] and shift int8 [outputs].
    """
    largest = np.abs(weight).max(axis=1).astype(np.float64)
    scale = np.maximum(largest, 1e-12) / 127
    if scale_out is not None:  # a row of zeros is its bias, in steps that are fine enough
        scale = np.where(largest == 0, scale_out / scale_in / 4096, scale)
    if wide:
        scale = np.maximum(scale, np.abs(bias) / scale_in / (2**29 - 1))
    if scale_out is None:
        scale = np.full_like(scale, scale.max())
    integers = _integers(weight, scale)
    if wide:
        scale = scale * 2 ** narrowing(integers)
    tensors = {
        "weight": integers,
        "bias": np.floor(bias / (scale_in * scale) + 0.5).astype(np.int32),
        "scale": scale.astype(np.float32),
    }
    if scale_out is not None:
        constants = [requant_constants(r) for r in scale_in * scale / scale_out]
        tensors["mult"] = np.array([m for m, _ in constants], np.int16)
        tensors["shift"] = np.array([s for _, s in constants], np.int8)
    return tensors


def heads_scale(peak: float, scale_v: float) -> float:
    """The scale of a core's outputs whose largest magnitude is `peak`.

    Averaging shrinks them, so they get a finer scale than v, but at most 8 times as fine: below
    that the rounding of the weights would show.
    """
    return max(peak / 127, scale_v / 8)
