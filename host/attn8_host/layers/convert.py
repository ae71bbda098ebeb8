"""int8 to int16 or to a number format, and back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..numerics.formats import FIXED, FLOATS, NAMES, Format
from ..numerics.integers import requant
from ..numerics.scales import finest, requant_constants
from ..schema import INTEGER, MULT, SHIFTS, one_of
from .base import INT8, INT16, ITEMSIZES, Example, Fields, Layer, LayerType, Signal, Tensors
from .quantizer import Quantizer

WIDER = 9  # bits by which values go up before they are requantized: ratios up to 2**8


@dataclass
class Convert:
    """int8 x to x * mult / 2**shift in the format, rounded half up; without a mult, raw integers
    x << shift, which stand for x * 2**(shift - frac)."""

    format: Format
    shift: int
    mult: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.format.name in FLOATS:
            step = np.ldexp(float(self.mult or 1), -self.shift)
            return np.asarray(x * self.format.dtype(step))
        wide = x.astype(np.int64)
        if self.mult is None:
            return (wide << self.shift).astype(self.format.dtype)
        down = self.shift - FIXED[self.format.name][1]
        wide = wide * self.mult
        wide = (wide + (1 << down >> 1)) >> down if down > 0 else wide << -down
        return wide.astype(self.format.dtype)


def factor(scale: float, form: Format) -> tuple[int, int]:
    """(mult, shift) with mult / 2**shift ~ scale, 2**14 <= mult < 2**15.

    Raises:
        ModelError: int8 times the scale leaves the format, or is 0 in it.
    """
    mantissa, exponent = math.frexp(scale)
    mult, shift = round(mantissa * 2**15), 15 - exponent
    if mult == 1 << 15:
        mult, shift = mult >> 1, shift - 1
    if 128 * scale > form.most:
        raise ModelError(f"its values reach {127 * scale:.5g}, and {form.name} ends at "
                         f"{form.most:.6g}; scale them first, or take a format of more whole bits")
    down = shift - FIXED.get(form.name, (0, 0))[1]
    if (form.name in FIXED and down > 22) or abs(shift) > 64:
        raise ModelError(f"its values reach {127 * scale:.5g}, which is no more than a step of "
                         f"{form.name}; scale them first")
    return mult, shift


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
    most_lsb = 1.0
    retrains = (INT16,)
    fields = {"format": one_of(INT8, INT16, *NAMES), "shift": INTEGER}
    optional = {"mult": MULT}

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["format"] in (INT16, *FLOATS) and "mult" not in entry:
            raise ModelError(f"{entry['name']}: the config lacks mult")

    def takes(self, entry: Fields, given: Signal) -> str:
        if entry["format"] != INT8:
            return INT8
        known = (INT16,) if "mult" in entry else FIXED
        return given.format if given.format in known else next(iter(known))

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry["format"], given.size)

    def connect(self, entry: Fields, given: Sequence[Signal]) -> Signal:
        made, form, shift = super().connect(entry, given), entry["format"], entry["shift"]
        low, high = SHIFTS
        if form in NAMES and "mult" in entry:
            low, high = -64, 64
        elif "mult" not in entry:
            bits = 8 * ITEMSIZES[given[0].format if form == INT8 else form]
            low, high = 0, bits - (1 if form == INT8 else 8)
        if not low <= shift <= high:
            raise ModelError(f"{entry['name']}.shift: expected {low} to {high}, got {shift}")
        if form in FIXED and "mult" in entry:
            bits, frac = FIXED[form]
            down, most = shift - frac, 1 << bits - 1
            if down > 30 or entry["mult"] << 7 > (most << down if down > 0 else most >> -down):
                raise ModelError(f"{entry['name']}.shift: int8 leaves {form}, got {shift}")
        return made

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        shift, form = entry["shift"], entry["format"]
        layer: Convert | ConvertToInt8 | Requantize
        if form in NAMES:
            layer = Convert(Format(form), shift, entry.get("mult"))
        elif "mult" in entry:
            layer = Requantize(entry["mult"], shift, form)
        else:
            layer = ConvertToInt8(shift)
        return lambda x: {"": layer(x)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        """Of what the quantizer puts between int8 and int16, or a number format."""
        if entry["format"] in NAMES:
            form = Format(entry["format"])
            entry["mult"], entry["shift"] = factor(quantizer.scale, form)
            quantizer.scale = form.step
            return
        before = quantizer.scale / 2**WIDER
        scale = quantizer.result(entry["name"], finest(before))
        entry["mult"], entry["shift"] = requant_constants(before / scale)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        """It does nothing to what trains: that is what its values stand for."""
        if entry["format"] in FLOATS or "mult" not in entry:
            return super().retrained(entry, tensors, before)
        if entry["format"] in FIXED:
            step = math.ldexp(entry["mult"], -entry["shift"])
            if not math.isclose(step, before[0], rel_tol=2**-14):
                raise ModelError(f"{entry['name']}: a step of int8 becomes {step:.5g} in it, and "
                                 f"stands for {before[0]:.5g}; give fewer --layers")
        return None, {}

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
