"""A model over what a sensor goes on giving; the device module of the same name is its twin."""

from collections import deque
from collections.abc import Callable

import numpy as np

from .errors import ModelError
from .feed import feed, feeding
from .model import Model


class Stream:
    """Calls on_result(stream) with a model's results every `hop` samples.

    As `device/attn8/stream.py`, whose comments say what the options mean, with samples in NumPy.

    Args:
        model: of int8, whose file has `input.channels`, along the input's last axis.
        hop: samples from one result to the next, from 1.
        on_result: gets this Stream: `result` is the last layer's values, `label` the smoothed place
            of the largest or None, `overruns` the results that newer samples took the place of.
        majority: results of which more than half make a label.
        threshold: value of the last layer's integers below which the label is None.
        hysteresis: how far another value must be above that of the label.

    Raises:
        ModelError: the model's file has no `input.channels`, or not along the last axis.
    """

    def __init__(
        self, model: Model, hop: int, on_result: Callable[["Stream"], None], majority: int = 1,
        threshold: int | None = None, hysteresis: int = 0,
    ):
        shape = model.config["input"]["shape"]
        channels, inner = feeding(model.config, model.tensors)
        if channels is None or inner != 1:
            raise ModelError("stream: expected input.channels along the input's last axis")
        self._channels = channels
        self._model, self._on_result = model, on_result
        self._width: int = shape[-1]
        self.hop, self.window = hop, model.input_size // self._width
        self._threshold, self._hysteresis = threshold, hysteresis
        self._samples = np.zeros((0, self._width), np.int8)  # what may still be asked for
        self._history: deque[int | None] = deque(maxlen=majority)
        self.overruns = 0
        self.result: np.ndarray | None = None
        self.reset()

    def reset(self) -> None:
        """The next sample is the first of a new window."""
        self._samples = self._samples[:0]
        self._skip = 0  # of those still to come
        self.label: int | None = None
        self._before: int | None = None
        self._history.clear()

    def __call__(self, samples: np.ndarray) -> None:
        """Takes samples as `put` does, and calls the model whenever a result is due."""
        for sample in np.reshape(samples, (-1, self._width)):
            self.put(sample)
            while self.poll():
                pass

    def put(self, samples: np.ndarray) -> None:
        """Takes samples, numbers [samples, channels]; calls no model.

        Raises:
            ModelError: a value is NaN, infinite or beyond 32 bits.
        """
        rows = np.reshape(samples, (-1, self._width))
        self._samples = np.concatenate([self._samples, feed(rows, self._channels)])
        self._drop(0)

    def poll(self) -> bool:
        """Calls the model if a result is due; returns whether one was."""
        while len(self._samples) - self.window > self.hop:  # a ring of a window and a hop
            self.overruns += 1
            self._drop(self.hop)
        if len(self._samples) < self.window:
            return False
        window = self._samples[: self.window]
        self._drop(self.hop)
        self.result = self._model(window.ravel())[self._model.output].ravel()
        self._smooth(self.result)
        self._on_result(self)
        return True

    def _drop(self, n: int) -> None:
        self._skip += n
        n = min(self._skip, len(self._samples))
        self._samples, self._skip = self._samples[n:], self._skip - n

    def _smooth(self, values: np.ndarray) -> None:
        values = values.astype(np.int64)
        best: int | None = int(values.argmax())
        if self._before is not None and values[best] - values[self._before] <= self._hysteresis:
            best = self._before
        if self._threshold is not None:
            kept = self._hysteresis if best == self._before else 0
            if values[best] < self._threshold - kept:
                best = None
        self._before = best
        self._history.append(best)
        assert self._history.maxlen is not None
        if self._history.count(best) > self._history.maxlen // 2:
            self.label = best
