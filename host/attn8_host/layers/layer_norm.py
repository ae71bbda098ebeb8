"""Layer normalization of an int16 stream (see docs/numerics.md)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..numerics.integers import bit_length, int32, saturated
from ..numerics.scales import scaled
from ..schema import INTEGER, SIZE, Kind, Tensor, one_of
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
)
from .convert import requantizing
from .quantizer import Quantizer

MOST = 4096  # values of a row: sums of squares stay in int32
EPS = Kind("a number from 0", lambda value: type(value) in (int, float) and 0 <= value < np.inf)


def whole_bits(features: int) -> int:
    """Of normalized values: 2**whole_bits is at least sqrt(features), the largest there can be."""
    return ((features - 1).bit_length() + 1) // 2


@dataclass
class LayerNorm:
    """(x - mean) / sqrt(variance + eps) * weight + bias, int16 [rows, n] -> int8 or int16.

    weight int16 [n], bias int32 [n] and shift int8 [n] for each channel; (eps_mult, eps_shift) hold
    eps in squared steps of x. Without `centred` there is neither mean nor bias: RMSNorm.
    """

    weight: np.ndarray
    shift: np.ndarray
    eps_mult: int
    eps_shift: int
    bias: np.ndarray | int = 0
    format: str = INT8
    centred: bool = True

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x, n = x.astype(np.int64), x.shape[1]
        mean = rest = np.zeros((len(x), 1), np.int64)
        if self.centred:
            total = int32(x.sum(axis=1, keepdims=True))
            mean = int32(2 * total + n) // (2 * n)
            rest = total - n * mean
        d = x - mean
        # c = d * 2**up, as large as 15 bits, and eps in 30, allow; or d / 2 where 15 are too few
        bits = 15 - bit_length(np.abs(d).max(axis=1, keepdims=True))
        up = np.clip(bits, 0, min(14, (14 + self.eps_shift) // 2))
        down = (bits < 0).astype(np.int64)
        d = d + down >> down
        rest = rest << up >> down
        correction = int32(2 * rest + n) // (2 * n)
        rest = rest - n * correction
        squares = int32(((d << up) - correction) ** 2)
        high = int32((squares >> 15).sum(axis=1, keepdims=True))
        low = int32((squares & 32767).sum(axis=1, keepdims=True))
        variance = (high // n << 15) + int32((high % n << 15) + low) // n
        eps_up = 2 * (up - down) - self.eps_shift
        eps = np.int64(self.eps_mult) << np.maximum(eps_up, 0) >> np.clip(-eps_up, 0, 31)
        variance = np.maximum(int32(variance + eps), 1)
        # To 2**28 up to 2**30, by an even number of bits
        halves = (30 - bit_length(variance)) // 2
        variance = variance << 2 * np.maximum(halves, 0) >> 2 * np.maximum(-halves, 0)
        root = np.floor(np.sqrt(variance.astype(np.float64))).astype(np.int64)
        root += variance - root * root > root
        inverse = ((1 << 30) // root + 1) >> 1
        # z = c / root, to 30 bits, whole_bits of them whole
        left = halves + 1 - whole_bits(n)
        right, left = np.maximum(-left, 0), np.maximum(left, 0)
        offset = int32(correction * inverse + int32(2 * rest * inverse + n) // (2 * n)) << left
        z = int32(int32(d * (inverse << up << left)) - offset) >> right
        weight, shift = self.weight.astype(np.int64), self.shift.astype(np.int64)
        product = int32((z >> 15) * weight) + (int32((z & 32767) * weight) >> 15)
        out = int32(product + self.bias + (1 << shift >> 1)) >> shift
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
    frac = 15 - whole_bits(len(weight))
    weight = np.asarray(weight, np.float64) / scale_out / 2**frac
    offset = np.zeros_like(weight) if bias is None else np.asarray(bias, np.float64) / scale_out
    # The most bits that each weight and each bias leave
    shift = np.full(len(weight), 25)
    for values, most in ((np.abs(weight), 2**15 - 1), (np.abs(offset), 2**30 - 2**25)):
        room = np.log2(most / np.maximum(values, most / 2.0**25))
        shift = np.minimum(shift, np.floor(room).astype(np.int64))
    if shift.min() < 0:
        raise ValueError("weight and bias: expected less over the scale of the results, "
                         f"{scale_out:g}")
    eps_mult, eps_shift = scaled(eps / scale_in**2, 15) if eps else (0, 64)
    if eps_shift < -14:
        raise ValueError(f"eps: expected less than {scale_in**2 * 2**29:g}, the square of the "
                         f"largest values, got {eps:g}")
    tensors: dict[str, np.ndarray] = {
        "weight": np.floor(weight * 2.0**shift + 0.5).astype(np.int16),
        "shift": shift.astype(np.int8),
    }
    if bias is not None:
        tensors["bias"] = np.floor(offset * 2.0**shift + 0.5).astype(np.int32)
    return {"eps_mult": eps_mult, "eps_shift": min(eps_shift, 64)}, tensors


class Type(LayerType):
    """[rows, features] -> [rows, features]; as many rows as there are."""

    tokenwise = True
    fields = {"features": SIZE, "eps": EPS}
    optional = {"output": one_of(INT8, INT16)}
    integers = {"eps_mult": INTEGER, "eps_shift": INTEGER}
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
        found = {"weight": Tensor(np.int16, shape), "shift": Tensor(np.int8, shape)}
        if self.centred:
            found["bias"] = Tensor(np.int32, shape)
        return found

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        parts = ("weight", "bias") if self.centred else ("weight",)
        return {part: Tensor(float, (entry["features"],)) for part in parts}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return max(given.size // entry["features"], 1), entry["features"]

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        rows = gives.size // int(entry["features"])
        return [buffer("int32", 5 * rows), buffer(gives.format, gives.size)]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = LayerNorm(tensors["weight"], tensors["shift"], entry["eps_mult"],
                          entry["eps_shift"], tensors.get("bias", 0), entry.get("output", INT8),
                          self.centred)
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


TYPE = Type()
