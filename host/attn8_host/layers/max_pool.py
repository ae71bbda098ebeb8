"""The largest value of each channel among some of the length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..schema import COUNT, SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors
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


class Type(LayerType):
    """[rows, length, channels] -> [rows, positions, channels]."""

    fields = {"length": SIZE, "channels": SIZE, "kernel_size": SIZE, "stride": SIZE,
              "positions": SIZE}
    optional = {"padding": COUNT, "rows": SIZE}
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
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


TYPE = Type()
