"""Layer normalization of an int16 stream (see docs/numerics.md)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.integers import bit_length, int32, saturated
from ..numerics.scales import scaled
from ..schema import SIZE, Kind, Tensor, one_of, within
from ..train.pointwise import Norm
from .base import (
    INPUT_SCALE,
    INT8,
    INT16,
    Buffer,
    Example,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    buffer,
    require_parts,
)
from .convert import requantizing
from .quantizer import Quantizer

MOST = 4095  # values of a row: what is fine enough for the largest of them
PAIR = Kind("[mult, shift], mult / 2**shift, of 0 to 32768 and of 0 to 60",
            lambda value: type(value) in (list, tuple) and [type(n) for n in value] == [int, int]
            and 0 <= value[0] <= 1 << 15 and 0 <= value[1] <= 60)
EPS = Kind("a number from 0", lambda value: type(value) in (int, float) and 0 <= value < np.inf)


def whole_bits(features: int, centred: bool) -> int:
    """Of normalized values: all are below 2**whole_bits, as their squares are at most
    features - 1, or features where there is no mean.
    """
    return ((features - centred).bit_length() + 1) // 2


def copies_bits(features: int) -> int:
    """A row counts 2**copies_bits times, as more than 2048 values and at most 4096."""
    return 12 - (features - 1).bit_length()


@dataclass
class LayerNorm:
    """(x - mean) / sqrt(variance + eps) * weight + bias, int16 [rows, n] -> int8 or int16.

    weight and bias int32 [n], of each channel; eps_mult << eps_shift is eps in squared steps of x,
    and of the sums of `copies_bits`. Without `centred` there is no mean: RMSNorm.
    """

    weight: np.ndarray
    bias: np.ndarray
    shift: int
    eps_mult: int
    eps_shift: int
    format: str = INT8
    centred: bool = True

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x, n = x.astype(np.int64), x.shape[1]
        copies = copies_bits(n)
        count = n << copies
        total = int32(x.sum(axis=1, keepdims=True)) if self.centred else np.zeros((len(x), 1), int)
        mean = total // n
        rest = total - n * mean
        # The variance, count**2 times: at most 55 bits
        squares = (x * x).sum(axis=1, keepdims=True) << copies
        spread = count * squares - (total << copies) ** 2 + (self.eps_mult << self.eps_shift)
        spread = np.maximum(spread, 1 << 12)
        # To 2**28 up to 2**30, by an even number of bits
        length = np.where(spread >> 30, 30 + bit_length(spread >> 30), bit_length(spread))
        halves = (30 - length) // 2
        spread = spread << 2 * np.maximum(halves, 0) >> 2 * np.maximum(-halves, 0)
        root = np.floor(np.sqrt(spread.astype(np.float64))).astype(np.int64)
        root += spread - root * root > root
        factor = ((count << 18) + (root >> 1)) // root
        correction = rest * factor // n
        finer = (rest * factor - correction * n << 17) // n  # its next 17 bits
        # Values to 31 bits, whole_bits of them whole
        left = 13 - whole_bits(n, self.centred) + halves
        right, left = np.maximum(-left, 0), np.maximum(left, 0)
        half = 1 << right >> 1
        factor = factor + half >> right << left
        correction = (correction + half >> right << left) + (finer >> np.maximum(17 - left, 0))
        z = int32((x - mean) * factor - correction)
        out = int32((z * self.weight.astype(np.int64) >> 32) + self.bias) >> self.shift
        return saturated(out, self.format)


def normalized(x: np.ndarray, eps: float, centred: bool = True) -> np.ndarray:
    """The rows of x, with mean 0 where centred, over their root mean square."""
    if centred:
        x = x - x.mean(axis=-1, keepdims=True)
    squares = np.mean(x * x, axis=-1, keepdims=True) + eps
    result: np.ndarray = x / np.sqrt(np.where(squares > 0, squares, 1))
    return result


def norm_constants(
    weight: np.ndarray, bias: np.ndarray | None, eps: float, scale_in: float, scale_out: float
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """The constants of a LayerNorm, and its tensors.

    Args:
        weight, bias: float [n]; no bias where it is not centred.
        eps: as torch.nn.LayerNorm has it.
        scale_in, scale_out: of x and the results.

    Raises:
        ValueError: a weight, a bias or eps is beyond what the integers can express.
    """
    places = 1 + whole_bits(len(weight), bias is not None)  # that a weight has beyond `shift`
    weight = np.asarray(weight, np.float64) / scale_out
    offset = np.zeros_like(weight) if bias is None else np.asarray(bias, np.float64) / scale_out
    # The most bits that all weights and biases leave
    room = np.log2([(2**31 - 1) / 2**places / max(np.abs(weight).max(), 2.0**-31),
                    (2**30 - 1) / (np.abs(offset).max() + 0.5)])
    shift = min(int(np.floor(room.min() - 1e-9)), 30)
    if shift < 0:
        raise ValueError("weight and bias: expected less over the scale of the results, "
                         f"{scale_out:g}")
    if eps >= scale_in**2 * 2**29:
        raise ValueError(f"eps: expected less than {scale_in**2 * 2**29:g}, the square of the "
                         f"largest values, got {eps:g}")
    count = len(weight) << copies_bits(len(weight))
    whole = eps / scale_in**2 * count**2
    mult, right = scaled(whole, 15) if whole >= 1 << 14 else (int(whole + 0.5), 0)
    tensors: dict[str, np.ndarray] = {
        "weight": np.floor(weight * 2.0 ** (shift + places) + 0.5).astype(np.int32),
        # With the half that rounds
        "bias": np.floor((offset + 0.5) * 2.0**shift + 0.5).astype(np.int32),
    }
    return {"shift": shift, "eps_mult": mult, "eps_shift": -right}, tensors


def eps_pair(eps: float) -> list[int]:
    """[mult, shift] with mult / 2**shift ~ eps, of 15 bits."""
    mantissa, exponent = math.frexp(eps)
    return [round(mantissa * 2**14), 14 - exponent] if eps else [0, 0]


class Type(LayerType):
    """[rows, features] -> [rows, features]; as many rows as there are."""

    tokenwise = True
    most_lsb = 0.6
    fields = {"features": SIZE, "eps": EPS}
    training_fields = {"features": SIZE, "eps": PAIR}
    optional = {"output": one_of(INT8, INT16)}
    integers = {"shift": within(0, 30), "eps_mult": within(0, (1 << 15) - 1),
                "eps_shift": within(0, 38)}
    input_formats = (INT16,)
    output_formats = (INT8, INT16)
    centred = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["features"] > MOST:
            raise ModelError(f"{entry['name']}.features: expected 1 to {MOST}, "
                             f"got {entry['features']}")

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        shape = (entry["features"],)
        return {part: Tensor(np.int32, shape) for part in ("weight", "bias")}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return {"bias": (-(1 << 30) + 1, (1 << 30) - 1)}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        parts = ("weight", "bias") if self.centred else ("weight",)
        return {part: Tensor(float, (entry["features"],)) for part in parts}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return max(given.size // entry["features"], 1), entry["features"]

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        rows = gives.size // int(entry["features"])
        return [buffer("int32", 3 * rows), buffer(gives.format, gives.size)]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = LayerNorm(tensors["weight"], tensors["bias"], entry["shift"], entry["eps_mult"],
                          entry["eps_shift"], entry.get("output", INT8), self.centred)
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        out = normalized(x[0], entry["eps"], self.centred) * tensors["weight"]
        return {"": out + tensors["bias"] if self.centred else out}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        bias = quantizer.tensors[f"{name}.bias"] if self.centred else None
        constants, made = norm_constants(quantizer.tensors[f"{name}.weight"], bias, entry["eps"],
                                         before, quantizer.result(name))
        entry.update(constants)
        quantizer.made.update({f"{name}.{part}": values for part, values in made.items()})

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Rows of several widths, int8 and int16; a row of equal values is among the inputs."""
        for rows, n, output in ((1, 1, "int8"), (3, 5, "int8"), (4, 32, "int8"), (2, 130, "int8"),
                                (4, 32, "int16")):
            yield self._example(rng, rows, n, output)

    def _example(self, rng: np.random.Generator, rows: int, n: int, output: str) -> Example:
        before = INPUT_SCALE / 128
        weight, bias = rng.normal(1, 0.3, n), rng.normal(0, 0.3, n) if self.centred else None
        peak = np.sqrt(min(n, 16)) * np.abs(weight).max() + (0 if bias is None else 1)
        scale = peak / (127 if output == "int8" else 16383)
        constants, made = norm_constants(weight, bias, 1e-5, before, scale)
        entry = {"type": self.name, "name": "norm", "features": n, "eps": 1e-5, "output": output,
                 **constants}

        def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            x = outputs["wide"].reshape(rows, n) * before
            want = normalized(x, 1e-5, self.centred) * weight + (0 if bias is None else bias)
            most = 127 if output == "int8" else 32767
            # In steps of int8, whatever the format
            unit = 1 if output == "int8" else 16383 / 127
            return outputs["norm"] / unit, np.clip(want / scale, -most, most) / unit

        return Example(output, {"rows": rows, "features": n},
                       [requantizing("wide", INPUT_SCALE / before), entry],
                       {f"norm.{part}": values for part, values in made.items()}, rows * n, floats)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        parts = self.float_tensors(entry)
        return {part: np.full(entry["features"], float(part == "weight")) for part in parts}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        """The reverse of norm_constants."""
        weight, bias = (tensors[part].astype(np.float64) for part in ("weight", "bias"))
        places = 1 + whole_bits(len(weight), self.centred)
        step = entry["scale"] / 2.0 ** entry["shift"]
        found = {"weight": weight * step / 2.0**places}
        if self.centred:
            found["bias"] = bias * step - entry["scale"] / 2
        return {"type": entry["type"], "name": entry["name"], "features": entry["features"],
                "eps": eps_pair(entry["eps"])}, found

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> Norm:
        require_parts(entry["name"], tensors, self.float_tensors(entry))
        return Norm(f, entry["name"], tuple(entry["eps"]), **tensors)


TYPE = Type()
