"""From what a sensor gives to a model's int8 input, as device/attn8/feed.py computes it.

Each channel of the input has four integers, `input.channels` int32 [channels, 4]: frac, offset,
mult and shift. With x a number of 32 bits, float or whole (docs/numerics.md):

    X = clamp(floor(x * 2^frac + 1/2))            within +-(2^30 - 1)
    out = requant(clamp(X - offset); mult, shift)
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import ModelError
from .numerics.integers import requant
from .numerics.scales import requant_constants
from .schema import Tensor

MOST = 2**30 - 1
FINEST = 100  # |frac|
BEYOND = 0.05  # the share of a channel's values that may be clamped before it is said
CHANNELS = Tensor(np.int32, (None, 4))


def constants(scale: float, offset: float = 0.0) -> tuple[int, int, int, int]:
    """(frac, offset, mult, shift) of a channel whose int8 values stand for x * scale + offset.

    Raises:
        ModelError: the offset is 2^27 steps or more, or the numbers are beyond 2^100 or below its
            reciprocal.
    """
    frac = 29 - math.frexp(abs(offset) + 128 * scale)[1]
    if not abs(frac) <= FINEST:
        raise ModelError(f"expected values from 1e-20 to 1e30, got steps of {scale:g} about "
                         f"{offset:g}; scale them first")
    step = math.ldexp(scale, frac)
    if step < 2:
        raise ModelError(f"{offset:g} is too far from 0 for steps of {scale:g}; take it off first")
    mult, shift = requant_constants(1 / step)
    return frac, math.floor(math.ldexp(offset, frac) + 0.5), mult, shift


def feed(x: np.ndarray, channels: np.ndarray, inner: int = 1) -> np.ndarray:
    """int8 of a model's input, in the shape of x.

    Args:
        x: numbers [..., size], floats or whole; those beyond 32 bits are refused.
        channels: int32 [channels, 4].
        inner: values between one of a channel and the next channel's.

    Raises:
        ModelError: a value is NaN, infinite or beyond 32 bits.
    """
    x = np.asarray(x)
    place = np.arange(x.shape[-1]) // inner % len(channels)
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32).astype(np.float64)
        wrong = ~np.isfinite(x)
    else:
        wrong = (x < -(2**31)) | (x >= 2**31)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise ModelError(f"channel {place[at[-1]]}: expected a finite number of 32 bits, got "
                         f"{x[at]}")
    frac, offset, mult, shift = np.asarray(channels, np.int64).T[:, place]
    if x.dtype.kind == "f":
        fixed = np.clip(np.floor(np.ldexp(x, frac) + 0.5), -MOST, MOST).astype(np.int64)
    else:
        # Whole numbers beyond 30 bits count as the largest; 31 bits to the left are beyond all
        whole = np.clip(x.astype(np.int64), -MOST, MOST)
        left, right = np.clip(frac, 0, 31), np.clip(-frac, 0, 31)
        fixed = np.clip((whole << left) + (1 << right >> 1) >> right, -MOST, MOST)
    return requant(np.clip(fixed - offset, -MOST, MOST), mult, shift)


def feeding(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> tuple[np.ndarray | None, int]:
    """What `feed` needs of a model file: (channels, inner); (None, 1) where it has none.

    Raises:
        ModelError: the two do not fit, or a constant is out of its range.
    """
    if "input.channels" not in tensors:
        return None, 1
    channels, sizes = tensors["input.channels"], config["input"]["shape"]
    CHANNELS.check("input.channels", channels)
    inner = 1
    if len(channels) != 1:
        axis = config["input"].get("axis", len(sizes) - 1)
        if axis >= len(sizes):
            raise ModelError(f"input.axis: expected 0 to {len(sizes) - 1}, got {axis}")
        if sizes[axis] != len(channels):
            raise ModelError(f"input.channels: expected {sizes[axis]} rows, got {len(channels)}")
        inner = math.prod(sizes[axis + 1 :])
    ranges = (-FINEST, FINEST), (-MOST, MOST), (2**14, 2**15 - 1), (16, 45)
    for (low, high), values in zip(ranges, channels.T, strict=True):
        if not (low <= values.min() and values.max() <= high):
            raise ModelError(f"input.channels: expected {low} to {high}, got {values.min()} to "
                             f"{values.max()}")
    return channels, inner


def clamped(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], x: np.ndarray
) -> list[str]:
    """A line for each channel of which more than BEYOND of the values do not fit int8.

    Args:
        config, tensors: of an int8 model.
        x: numbers [samples, *input shape].
    """
    channels, inner = feeding(config, tensors)
    if channels is None:
        return []
    frac, offset, mult, shift = channels.astype(np.float64).T
    scales, offsets = np.exp2(shift - frac) / mult, offset * np.exp2(-frac)
    values = np.asarray(x, np.float64).reshape(-1, len(channels), inner)
    beyond = np.abs(values - offsets[:, None]) > 127.5 * scales[:, None]
    found = []
    for c, share in enumerate(beyond.mean(axis=(0, 2))):
        if share > BEYOND:
            low, high = offsets[c] - 127 * scales[c], offsets[c] + 127 * scales[c]
            where = f"input channel {c}" if len(channels) > 1 else "the input"
            found.append(f"{where}: {share:.0%} of its values are beyond {low:.4g} to {high:.4g} "
                         "and are clamped; calibrate with inputs like these, or see what changed")
    return found
