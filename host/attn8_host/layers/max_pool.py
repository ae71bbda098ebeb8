"""The largest value of each channel among some of the length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import COUNT, SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


@dataclass(frozen=True)
class Windows:
    """Where windows over one axis lie: they begin at -padding, then `stride` further.

    Each sees at least one value; what it has before and behind the axis does not count.
    """

    length: int
    kernel_size: int
    stride: int
    positions: int
    padding: int = 0

    def check(self, where: str, axis: str = "") -> None:
        """Raises ModelError where one of them sees nothing."""
        most = (self.length + self.padding - 1) // self.stride + 1
        for key, low, high in (("padding", 0, self.kernel_size - 1), ("positions", 1, most)):
            if not low <= getattr(self, key) <= high:
                raise ModelError(f"{where}.{key}{axis}: expected {low} to {high}, got "
                                 f"{getattr(self, key)}")

    def __iter__(self) -> Iterator[slice]:
        for first in range(-self.padding, self.positions * self.stride - self.padding, self.stride):
            yield slice(max(first, 0), min(first + self.kernel_size, self.length))


def windows(entry: Fields) -> Windows:
    """Of an entry of a model file."""
    return Windows(entry["length"], entry["kernel_size"], entry["stride"], entry["positions"],
                   entry.get("padding", 0))


def largest(x: np.ndarray, seen: Windows) -> np.ndarray:
    """[rows, length, channels] -> [rows * positions, channels]."""
    found = np.stack([x[:, part].max(axis=1) for part in seen], axis=1)
    return found.reshape(-1, x.shape[-1])


class TrainableMaxPool(TrainableLayer):
    """The same; the gradient of each largest value goes to the first that has it.

    Args:
        f: the format of the numbers.
        shape: of what it takes, [rows, length, channels].
        seen: the windows.
    """

    def __init__(self, f: Any, shape: tuple[int, ...], seen: Windows):
        self.f = f
        self.shape = shape
        self.seen = seen

    def __call__(self, *x: np.ndarray, **_: Any) -> np.ndarray:
        self.x = x[0].reshape(self.shape)
        return largest(self.x, self.seen)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        rows, _, channels = self.shape
        dx, own = np.zeros_like(self.x), grad.reshape(rows, -1, channels)
        row, channel = np.ogrid[:rows, :channels]
        for p, part in enumerate(self.seen):
            place = row, part.start + self.x[:, part].argmax(axis=1), channel
            dx[place] = self.f.add(dx[place], own[:, p])
        return dx


class Type(LayerType):
    """[rows, length, channels] -> [rows, positions, channels]."""

    fields = {"length": SIZE, "channels": SIZE, "kernel_size": SIZE, "stride": SIZE,
              "positions": SIZE}
    optional = training_optional = {"padding": COUNT, "rows": SIZE}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        windows(entry).check(entry["name"])

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        windows(entry).check(entry["name"])

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry.get("rows", 1), entry["length"], entry["channels"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        size = entry.get("rows", 1) * entry["positions"] * entry["channels"]
        return Signal(given.format, size)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda x: {"": largest(x, windows(entry))}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": largest(x[0], windows(entry))}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of a signal, of lines of an image, of all there is; in both formats."""
        for output, rows, channels, seen in (
            (INT8, 1, 7, Windows(9, 3, 2, 5, 1)), (INT16, 1, 4, Windows(9, 2, 2, 5)),
            (INT8, 3, 1, Windows(8, 2, 3, 3, 1)), (INT16, 2, 5, Windows(6, 6, 1, 1)),
        ):
            size = rows * seen.length * channels
            before = {"type": "relu", "name": "x"} if output == INT8 else requantizing("x", 128)
            sizes = {"rows": rows, "length": seen.length, "channels": channels,
                     "kernel_size": seen.kernel_size, "stride": seen.stride,
                     "positions": seen.positions, "padding": seen.padding}

            def floats(
                outputs: Mapping[str, np.ndarray], seen: Windows = seen,
                shape: Sequence[int] = (rows, seen.length, channels),
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(shape).astype(np.float64)
                return outputs["pool"].ravel(), largest(x, seen).ravel()

            yield Example(output, sizes, [before, {"type": "max_pool", "name": "pool", **sizes}],
                          {}, size, floats)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.fields, *self.optional)
        return {key: entry[key] for key in keys if key in entry}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableMaxPool:
        shape = entry.get("rows", 1), entry["length"], entry["channels"]
        return TrainableMaxPool(f, shape, windows(entry))


TYPE = Type()
