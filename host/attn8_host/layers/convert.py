"""int8 to a fixed-point format, and back."""

from dataclasses import dataclass

import numpy as np

from ..numerics.formats import FIXED, Format
from ..schema import INTEGER, one_of
from .base import Fields, Layer, LayerType, Signal, Tensors


@dataclass
class Convert:
    """Raw integers x << shift: x stands for x * 2**(shift - frac)."""

    format: Format
    shift: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x.astype(np.int64) << self.shift).astype(self.format.dtype)


@dataclass
class ConvertToInt8:
    """x / 2**shift of raw integers, rounded half up, within +-127."""

    shift: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        half = 1 << self.shift >> 1
        shifted: np.ndarray = (x.astype(np.int64) + half) >> self.shift
        return shifted.clip(-127, 127).astype(np.int8)


class Type(LayerType):
    """Each value in another format."""

    fields = {"format": one_of("int8", *FIXED), "shift": INTEGER}

    def takes(self, entry: Fields, given: Signal) -> str:
        back = entry["format"] == "int8"
        return given.format if back and given.format in FIXED else "Q8.8" if back else "int8"

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry["format"], given.size)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        back = entry["format"] == "int8"
        shift = entry["shift"]
        layer = ConvertToInt8(shift) if back else Convert(Format(entry["format"]), shift)
        return lambda x: {"": layer(x)}


TYPE = Type()
