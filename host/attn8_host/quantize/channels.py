"""The scale and the offset of each channel of a model's input.

A channel of the input becomes int8 with a scale and an offset of its own where the layers that take
the input can have them in their weights (LayerType.fold); so sensors of any units, and channels of
any size about any mean, use all of int8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import layers
from ..errors import ModelError
from ..feed import constants
from ..layers.base import TOKENS, Signal
from ..lengths import Lengths
from ..modelfile import inputs, parts
from .ranges import ROUNDING, TAIL

MOST = 0.01  # of all values, what least-error may clamp
ROOM = 2.0  # one scale may be so many times that of a channel before each gets its own


@dataclass
class Channels:
    """What int8 x of a channel stands for: x * scale + offset.

    Attributes:
        axis: of the input's shape; None where one scale and offset hold for all values.
        scales, offsets: float64, one a channel.
        folded: whether the model behind takes x * max(scales), else it takes x * scale + offset.
        warnings: about the calibration inputs, a line each.
    """

    axis: int | None
    scales: np.ndarray
    offsets: np.ndarray
    folded: bool
    warnings: list[str]

    @property
    def scale(self) -> float:
        """What the model behind takes as one step."""
        return float(self.scales.max())

    def spread(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Values of the channels as an array that broadcasts over the input's shape."""
        if self.axis is None:
            return values.reshape((1,) * len(shape))
        return values.reshape([-1 if i == self.axis else 1 for i in range(len(shape))])

    def clamp(self, x: np.ndarray) -> np.ndarray:
        """Inputs [samples, ...] within what int8 can stand for."""
        scales, offsets = (self.spread(each, x.shape[1:]) for each in (self.scales, self.offsets))
        clamped: np.ndarray = np.clip(x, offsets - 127 * scales, offsets + 127 * scales)
        return clamped.astype(x.dtype, copy=False)

    def constants(self) -> np.ndarray:
        """input.channels, int32 [channels, 4]."""
        found = []
        for c, (scale, offset) in enumerate(zip(self.scales, self.offsets, strict=True)):
            try:
                found.append(constants(float(scale), float(offset)))
            except ModelError as error:
                raise ModelError(f"input: channel {c}: {error}") from None
        return np.array(found, np.int32)

    def entry(self) -> dict[str, Any]:
        """What the config says of the input besides its shape."""
        found: dict[str, Any] = {"scale": self.scale}
        if self.folded:
            found |= {"scales": self.scales.tolist(), "offsets": self.offsets.tolist()}
            if self.axis is not None:
                found["axis"] = self.axis
        return found


def fold(
    config: dict[str, Any], tensors: dict[str, np.ndarray], scales: np.ndarray, offsets: np.ndarray
) -> dict[str, np.ndarray] | None:
    """Float tensors of the same model for an input x where it had x * scales + offsets.

    Args:
        scales, offsets: in the input's shape.

    Returns:
        None where a layer that takes the input cannot have them in its weights.
    """
    found = dict(tensors)
    carried = {"input": (scales, offsets)}  # the input itself, moved only
    for entry, sources in zip(config["layers"], inputs(config), strict=True):
        reached = [carried[source] for source in sources if source in carried]
        if not reached:
            continue
        kind = layers.get(entry["type"])
        if len(reached) > 1 or sources[kind.heeds] not in carried:
            return None
        own = parts(entry, kind.float_tensors(entry), tensors)
        first, second = reached[0]
        if len(sources) == 1:
            shape = kind.shape(entry, Signal("float", first.size))
            first, second = first.reshape(shape), second.reshape(shape)
        if kind.moves:
            moved = [kind.floating(entry, own, each).get("", each) for each in (first, second)]
            carried[entry["name"]] = (moved[0], moved[1])
            continue
        folded = kind.fold(entry, own, first, second)
        if folded is None:
            return None
        found |= {f"{entry['name']}.{part}": values for part, values in folded.items()}
    return found if config["layers"][-1]["name"] not in carried else None


def measure(
    config: dict[str, Any], tensors: dict[str, np.ndarray], x: np.ndarray, method: str,
    lengths: Sequence[int | None] | None = None,
) -> Channels:
    """The channels of a float model's input.

    Args:
        config, tensors: of the float model; a scale of the input that it gives is kept.
        x: calibration inputs [samples, *input shape].
        method: of ranges.METHODS.
        lengths: how many tokens of each input count; None: all.

    Raises:
        ModelError: all inputs are 0.
    """
    shape = x.shape[1:]
    if config["input"].get("format") == TOKENS:
        return Channels(None, np.array([max(float(x.max()), 1.0) / 127]), np.zeros(1), False, [])
    axis, offsets_fold, folds = _axis(config, tensors, shape)
    values = _counted(config, x, lengths) if axis != 0 else x
    values = np.moveaxis(values, -1 if axis is None else axis - len(shape), -1).astype(np.float64)
    values = values.reshape(-1, 1 if axis is None else shape[axis])
    low, high = _range(values, method)
    given = config["input"].get("scale")
    if given:
        count = values.shape[1]
        found = Channels(axis, np.full(count, given), np.zeros(count), False, [])
        one = Channels(None, np.array([given]), np.zeros(1), False, _warn(values, found, low, high))
        return one
    if not values.any():
        raise ModelError("the calibration inputs are 0 throughout")

    middle, half = (low + high) / 2, (high - low) / 2
    largest = np.maximum(np.abs(low), np.abs(high))
    if not offsets_fold:
        middle, half = np.zeros_like(middle), largest
    alive = half > 0
    shared = float(largest.max())
    if folds and alive.any() and shared > ROOM * float(half[alive].min()):
        # What never changed in calibration may change by as much as it is large
        half = np.where(alive, half, np.where(largest > 0, largest, half.max()))
        found = Channels(axis, half / 127, middle, True, [])
        found.warnings = _warn(values, found, low, high)
        return found
    each = Channels(axis, np.full(len(half), shared / 127), np.zeros(len(half)), False, [])
    return Channels(None, np.array([shared / 127]), np.zeros(1), False,
                    _warn(values, each, low, high))


def _axis(
    config: dict[str, Any], tensors: dict[str, np.ndarray], shape: tuple[int, ...]
) -> tuple[int | None, bool, bool]:
    """Along which axis channels lie, and whether their offsets and their scales can be folded."""
    axes: list[int | None] = [i for i in reversed(range(len(shape))) if shape[i] > 1]
    for offsets in (True, False):
        for axis in [*axes, None]:
            trial = np.ones(shape)
            if axis is not None:
                line = np.arange(1.0, shape[axis] + 1)
                trial = trial * line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
            if fold(config, tensors, trial, trial if offsets else 0 * trial):
                if not offsets and axis is None:
                    break  # one scale that is folded is as good as one that is not
                return axis, offsets, True
    return (axes[0] if axes else None), False, False


def _counted(
    config: dict[str, Any], x: np.ndarray, lengths: Sequence[int | None] | None
) -> np.ndarray:
    """The tokens [any, ...] of inputs [samples, tokens, ...] that count for the model."""
    following = Lengths(config)
    return np.concatenate([following.counted({"input": each}, n)["input"]
                           .reshape(-1, *x.shape[2:])
                           for each, n in zip(x, lengths or [None] * len(x), strict=True)])


def _range(values: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest values to keep, of values [n, channels] (see ranges.Histogram)."""
    n = len(values)
    ordered = np.sort(values, axis=0)
    if method == "absmax":
        return ordered[0], ordered[-1]
    if method == "percentile":
        dropped = int(n * TAIL) // 2
        return _kept(ordered, np.full(values.shape[1], dropped))
    most = int(n * MOST)
    counts = [0, *(2**i for i in range(most.bit_length()))]
    errors = []
    for count in counts:
        low, high = ordered[count], ordered[n - 1 - count]
        lost = np.abs(values - np.clip(values, low, high)).mean(axis=0)
        errors.append(lost + (high - low) / 254 * ROUNDING)
    return _kept(ordered, np.array(counts)[np.argmin(errors, axis=0)])


def _kept(ordered: np.ndarray, dropped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range without `dropped` values of each end; all of it where nothing would be left."""
    columns = np.arange(ordered.shape[1])
    low, high = ordered[dropped, columns], ordered[len(ordered) - 1 - dropped, columns]
    empty = low == high
    return np.where(empty, ordered[0], low), np.where(empty, ordered[-1], high)


def _warn(
    values: np.ndarray, channels: Channels, low: np.ndarray, high: np.ndarray
) -> list[str]:
    """What is odd about values [n, channels], and what to do."""
    found = []
    n, count = values.shape
    smallest, largest = values.min(axis=0), values.max(axis=0)
    if still := np.flatnonzero(smallest == largest).tolist():
        which = f"channel {still[0]}" if len(still) == 1 else f"channels {still}"
        found.append(f"input {which}: never changes in the calibration inputs; leave it out, or "
                     "calibrate with inputs in which it does")
    for c in range(count):
        where = f"input channel {c}" if count > 1 else "the input"
        reach = 127 * channels.scales[c]
        centre = channels.offsets[c]
        beyond = np.abs(values[:, c] - centre) > 1.002 * reach
        rest = np.where(beyond, np.nan, values[:, c])
        span = largest[c] - smallest[c]
        if span == 0:
            continue
        if beyond.mean() > 0.5:
            found.append(f"{where} is mostly beyond its range, {centre - reach:g} to "
                         f"{centre + reach:g}; take \"scale\" out of the config's input")
        elif beyond.any() and span > 8 * reach:
            far = int((np.abs(values[:, c] - centre) > 2 * reach).sum())
            found.append(f"{where}: {far:,} of {n:,} values are far beyond the others, "
                         f"{np.nanmin(rest):.4g} to {np.nanmax(rest):.4g}, and are clamped; see "
                         "whether the sensor is at fault, or keep them with --calibrate absmax")
        elif span < 16 * channels.scales[c]:
            why = ("it shares a scale with larger ones; scale it before training, or put a dense "
                   "layer in front")
            if channels.folded:
                why = "it is far from 0, with which conv1d pads; take its mean off before training"
            steps = span / channels.scales[c]
            found.append(f"{where} has {steps:.0f} of 254 steps, as {why}")
        different = len(np.unique(values[:, c]))
        for end in (smallest[c], largest[c]):
            share = float((values[:, c] == end).mean())
            if end and different > 64 and share > 0.05:
                found.append(f"{where} is {end:g}, its limit, in {share:.0%} of the values: it "
                             "saturates; give the sensor a wider range")
    return found
