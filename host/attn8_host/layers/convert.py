"""int8 to int16 or to a fixed-point format, and back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..numerics.formats import FIXED, Format
from ..numerics.integers import requant
from ..numerics.scales import finest, requant_constants
from ..schema import INTEGER, one_of
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors
from .quantizer import Quantizer

WIDER = 9  # bits by which int8 goes up before it is requantized to int16


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


@dataclass
class Requantize:
    """int16 to int8, requant(x; mult, shift), and int8 to int16, requant(x << 9; mult, shift)."""

    mult: int
    shift: int
    format: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.int64)
        if self.format == INT16:
            wide = wide << WIDER
        return requant(wide, self.mult, self.shift, self.format)


def widening(name: str, ratio: float, source: str | None = None) -> Fields:
    """An entry that makes int16 of int8; one step of int8 is `ratio` steps of int16."""
    mult, shift = requant_constants(ratio / 2**WIDER)
    entry = {"type": "convert", "name": name, "format": INT16, "mult": mult, "shift": shift}
    return entry if source is None else {**entry, "inputs": [source]}


class Type(LayerType):
    """Each value in another format."""

    fields = {"format": one_of(INT8, INT16, *FIXED), "shift": INTEGER}
    optional = {"mult": INTEGER}

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["format"] == INT16 and "mult" not in entry:
            raise ModelError(f"{entry['name']}: the config lacks mult")

    def takes(self, entry: Fields, given: Signal) -> str:
        if entry["format"] != INT8:
            return INT8
        known = (INT16,) if "mult" in entry else FIXED
        return given.format if given.format in known else next(iter(known))

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry["format"], given.size)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        shift, form = entry["shift"], entry["format"]
        layer: Convert | ConvertToInt8 | Requantize
        if "mult" in entry:
            layer = Requantize(entry["mult"], shift, form)
        else:
            layer = ConvertToInt8(shift) if form == INT8 else Convert(Format(form), shift)
        return lambda x: {"": layer(x)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        """Of what the quantizer puts between int8 and int16."""
        before = quantizer.scale
        if entry["format"] == INT16:
            before /= 2**WIDER
            scale = quantizer.result(entry["name"], finest(before))
        else:  # no finer than can be had
            scale = quantizer.scale = max(quantizer.result(entry["name"]), finest(before))
        entry["mult"], entry["shift"] = requant_constants(before / scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """int8 to int16 and back."""
        ratio, back = 129.3, 0.0061
        mult, shift = requant_constants(back)
        narrow = {"type": "convert", "name": "narrow", "format": INT8, "mult": mult,
                  "shift": shift}

        def widened(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return outputs["wide"], outputs["negative"].astype(np.float64) * ratio

        def narrowed(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return outputs["narrow"], np.clip(outputs["wide"] * back, -127, 127)

        relu = {"type": "relu", "name": "negative"}
        wide = widening("wide", ratio)
        yield Example("int16", {"size": 33}, [relu, wide], {}, 33, widened)
        yield Example("int8", {"size": 33}, [wide, narrow], {}, 33, narrowed)


TYPE = Type()
