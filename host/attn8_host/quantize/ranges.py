"""How large the values of each tensor become over the calibration inputs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..lengths import Lengths

METHODS = ("absmax", "percentile", "least-error")
TAIL = 1e-3  # of all values, what `percentile` leaves beyond the range
ROUNDING = 1 / 4  # of a step, the mean error of rounding to it
BINS = 4096


@dataclass
class Histogram:
    """Of magnitudes from 0 to `top`, which doubles where larger ones come.

    Attributes:
        bounds: the lowest and the highest value of each channel, the last axis, where these were
            asked for.
    """

    peak: float = 0.0
    top: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, values: np.ndarray) -> None:
        values = np.abs(values).ravel().astype(np.float64)
        self.peak = np.maximum(self.peak, values.max()).item()
        if not 0 < self.peak < np.inf:
            return
        self.top = self.top or self.peak
        while self.top < self.peak:
            self.counts = np.append(self.counts.reshape(-1, 2).sum(axis=1),
                                    np.zeros(BINS // 2, np.int64))
            self.top *= 2
        self.counts += np.histogram(values[values > 0], BINS, (0, self.top))[0]

    def bound(self, values: np.ndarray) -> None:
        """Takes the channels of more values [..., channels] into `bounds`."""
        rows = values.reshape(-1, values.shape[-1])
        low, high = rows.min(axis=0), rows.max(axis=0)
        if self.bounds is not None:
            low, high = np.minimum(self.bounds[0], low), np.maximum(self.bounds[1], high)
        self.bounds = low, high

    def range(self, method: str) -> float:
        """The magnitude up to which values are kept; those beyond are clamped to it.

        absmax: the largest one. percentile: one that TAIL of the values are beyond. least-error:
        that of the smallest mean error of int8. Zeros count for nothing: they are exact.
        """
        if method == "absmax" or not self.peak > 0:
            return self.peak
        edges = np.arange(1, BINS + 1) * (self.top / BINS)
        beyond = self.counts.sum() - np.cumsum(self.counts)
        if method == "percentile":
            found = int(np.argmax(beyond <= TAIL * self.counts.sum()))
        else:
            middles = edges - self.top / BINS / 2
            mass = self.counts * middles
            lost = mass.sum() - np.cumsum(mass) - edges * beyond
            rounded = (self.counts.sum() - beyond) * edges / 127 * ROUNDING
            found = int(np.argmin(lost + rounded))
        return min(float(edges[found]), self.peak)


def measure(
    run: Callable[..., dict[str, np.ndarray]], inputs: np.ndarray, lengths: Sequence[int | None],
    following: Lengths, bounded: Collection[str] = (),
) -> dict[str, Histogram]:
    """Of each tensor of a float model (see float_model.prepare) over inputs [samples, ...] of
    which so many tokens count; `following` says which values of a tensor do. bounded: the tensors
    whose channels are bounded each."""
    found: dict[str, Histogram] = {}
    for x, length in zip(inputs, lengths, strict=True):
        for name, values in following.counted(run(x, length), length).items():
            histogram = found.setdefault(name, Histogram())
            histogram.add(values)
            if name in bounded:
                histogram.bound(values)
    return found
