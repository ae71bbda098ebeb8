"""Windows over two axes: what a convolution over both multiplies."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import MAX_INPUTS, MOST, SIZE, Kind, within
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .max_pool import Windows
from .quantizer import Quantizer


def pair(low: int) -> Kind:
    """Two whole numbers."""
    kind = within(low, MOST)
    return Kind(f"two whole numbers from {low} to {MOST}, of height and width", lambda value: (
        type(value) is list and len(value) == 2 and all(map(kind.holds, value))))


def axes(entry: Fields) -> tuple[Windows, Windows]:
    """The windows over the height and over the width."""
    first, second = (
        Windows(entry[size], *(entry[key][i] for key in ("kernel_size", "stride", "positions",
                                                         "padding")))
        for i, size in enumerate(("height", "width")))
    return first, second


def unfolded(x: np.ndarray, height: Windows, width: Windows) -> np.ndarray:
    """[height, width, channels] -> [positions, values of a window], with zeros around x."""
    for axis, seen in enumerate((height, width)):
        behind = (seen.positions - 1) * seen.stride + seen.kernel_size - seen.padding - seen.length
        around = [(0, 0)] * x.ndim
        around[axis] = seen.padding, max(behind, 0)
        x = np.pad(x, around)
    found = np.lib.stride_tricks.sliding_window_view(
        x, (height.kernel_size, width.kernel_size), (0, 1))[:: height.stride, :: width.stride]
    found = found[: height.positions, : width.positions].transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(found).reshape(height.positions * width.positions, -1)


class TrainableUnfold(TrainableLayer):
    """The same; the gradient of a value is the sum of those of all windows that see it, tap by
    tap.

    Args:
        f: the format of the numbers.
        shape: of what it takes, [height, width, channels].
        seen: the windows over the height and over the width.
    """

    def __init__(self, f: Any, shape: tuple[int, ...], seen: tuple[Windows, Windows]):
        self.f = f
        self.shape = shape
        self.seen = seen

    def __call__(self, *x: np.ndarray, **_: Any) -> np.ndarray:
        return unfolded(x[0].reshape(self.shape), *self.seen)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        height, width = self.seen
        own = grad.reshape(height.positions, width.positions, height.kernel_size,
                           width.kernel_size, -1)
        dx = np.zeros(self.shape, grad.dtype)
        for y, x in np.ndindex(height.kernel_size, width.kernel_size):
            rows, columns = (np.arange(seen.positions) * seen.stride + tap - seen.padding
                             for seen, tap in ((height, y), (width, x)))
            inside = np.ix_((rows >= 0) & (rows < height.length),
                            (columns >= 0) & (columns < width.length))
            place = rows[inside[0]], columns[inside[1]]
            dx[place] = self.f.add(dx[place], own[inside][:, :, y, x])
        return dx


class Type(LayerType):
    """[height, width, channels] -> [positions, kernel height * kernel width * channels]."""

    fields = {"height": SIZE, "width": SIZE, "channels": SIZE, "kernel_size": pair(1),
              "stride": pair(1), "positions": pair(1), "padding": pair(0)}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = moves = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        self._check_windows(entry)

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        self._check_windows(entry)

    def _check_windows(self, entry: Fields) -> None:
        name, (height, width) = entry["name"], axes(entry)
        height.check(name, "[0]")
        width.check(name, "[1]")
        if height.positions * width.positions > MOST:
            raise ModelError(f"{name}.positions: expected 1 to {MOST}, got "
                             f"{height.positions * width.positions}")
        seen = height.kernel_size * width.kernel_size * entry["channels"]
        if seen > MAX_INPUTS:
            raise ModelError(f"{name}.kernel_size: expected 1 to {MAX_INPUTS} values, got {seen}")

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["height"], entry["width"], entry["channels"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        size = np.prod([*entry["positions"], *entry["kernel_size"], entry["channels"]])
        return Signal(given.format, int(size))

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda x: {"": unfolded(x, *axes(entry))}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": unfolded(x[0], *axes(entry))}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Patches, and overlapping windows with zeros around them, in both formats."""
        for output, channels, height, width in (
            (INT8, 3, Windows(8, 4, 4, 2), Windows(6, 3, 3, 2)),
            (INT16, 1, Windows(5, 3, 1, 5, 1), Windows(6, 3, 2, 3, 1)),
            (INT8, 2, Windows(4, 2, 3, 2), Windows(5, 4, 1, 4, 2)),
        ):
            before = {"type": "relu", "name": "x"} if output == INT8 else requantizing("x", 128)
            entry = {"type": "unfold", "name": "windows", "height": height.length,
                     "width": width.length, "channels": channels,
                     **{key: [getattr(height, key), getattr(width, key)]
                        for key in ("kernel_size", "stride", "positions", "padding")}}
            shape = height.length, width.length, channels

            def floats(
                outputs: Mapping[str, np.ndarray], seen: tuple[Windows, Windows] = (height, width),
                shape: tuple[int, ...] = shape,
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(shape).astype(np.float64)
                return outputs["windows"].ravel(), unfolded(x, *seen).ravel()

            sizes = {"height": height.length, "width": width.length, "channels": channels}
            yield Example(output, sizes, [before, entry], {}, int(np.prod(shape)), floats)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", *self.fields)}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableUnfold:
        shape = entry["height"], entry["width"], entry["channels"]
        return TrainableUnfold(f, shape, axes(entry))


TYPE = Type()
