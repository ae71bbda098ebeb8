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

WIDER = 9  # bits by which values go up before they are requantized: ratios up to 2**8


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
    """requant(x << 9; mult, shift), int16 to int8 or int8 to int16."""

    mult: int
    shift: int
    format: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return requant(x.astype(np.int64) << WIDER, self.mult, self.shift, self.format)


def requantizing(name: str, ratio: float, source: str | None = None, form: str = INT16) -> Fields:
    """An entry between int8 and int16; one step before it is `ratio` steps behind."""
    mult, shift = requant_constants(ratio / 2**WIDER)
    entry = {"type": "convert", "name": name, "format": form, "mult": mult, "shift": shift}
    return entry if source is None else {**entry, "inputs": [source]}


class Type(LayerType):
    """Each value in another format."""

    tokenwise = True
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
        before = quantizer.scale / 2**WIDER
        scale = quantizer.result(entry["name"], finest(before))
        entry["mult"], entry["shift"] = requant_constants(before / scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """int8 to int16 and back."""
        ratio, back = 129.3, 0.0061
        narrow = requantizing("narrow", back, form=INT8)

        def widened(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return outputs["wide"], outputs["negative"].astype(np.float64) * ratio

        def narrowed(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return outputs["narrow"], np.clip(outputs["wide"] * back, -127, 127)

        relu = {"type": "relu", "name": "negative"}
        wide = requantizing("wide", ratio)
        yield Example("int16", {"size": 33}, [relu, wide], {}, 33, widened)
        yield Example("int8", {"size": 33}, [wide, narrow], {}, 33, narrowed)


TYPE = Type()
