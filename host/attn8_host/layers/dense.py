"""Fully connected layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import NAMES, OVERFLOWS, ROUNDINGS, Format, from_entry
from ..numerics.integers import int32, rounded, saturated
from ..numerics.pairs import fits
from ..numerics.parameter import Parameter
from ..numerics.scales import linear, narrowing
from ..schema import FLAG, INPUTS, MULTS, SHIFTS, SIZE, Tensor, one_of
from .base import (
    BITS,
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
    TrainableLayer,
    buffer,
    require_parts,
)
from .quantizer import Quantizer

SUMS = 1024  # bytes of int32 sums that wait to become int16


@dataclass
class Dense:
    """x @ weight.T + bias; int8 or int16 [rows, inputs] -> [rows, outputs].

    weight int8 [outputs, inputs], bias int32 [outputs] or 0; with mult int16 [outputs] and shift
    int8 [outputs] the results are requantized to int8 or int16, without them they are the int32
    sums. int16 goes down by as many bits as its sums need (see numerics.scales.narrowing). `most`
    is the largest magnitude of requantized results, where that of their format is not.
    """

    weight: np.ndarray
    bias: np.ndarray | int = 0
    mult: np.ndarray | None = None
    shift: np.ndarray | None = None
    format: str = field(default=INT8, init=False)  # of requantized results
    most: int | None = field(default=None, init=False)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.results(self.narrowed(x) @ self.weight.astype(np.int64).T)

    def narrowed(self, x: np.ndarray) -> np.ndarray:
        """x as it is multiplied, int64."""
        down = narrowing(self.weight) if x.dtype == np.int16 else 0
        return (x.astype(np.int64) + (1 << down >> 1)) >> down

    def results(self, products: np.ndarray) -> np.ndarray:
        """Of sums of products [rows, outputs], without the bias."""
        sums = int32(products + self.bias)
        if self.mult is None or self.shift is None:
            return sums.astype(np.int32)
        return saturated(rounded(sums, self.mult, self.shift), self.format, self.most)


@dataclass
class QDense:
    """The same in fixed point or floats; weights [outputs, inputs], biases [outputs]."""

    weights: np.ndarray
    biases: np.ndarray
    number: Format

    def __call__(self, x: np.ndarray) -> np.ndarray:
        rows = x.reshape(-1, self.weights.shape[1])
        return self.number.matmul(rows, self.weights.T, self.biases)


class TrainableDense(TrainableLayer):
    """out = x @ weight.T + bias; x [rows, inputs], weight [outputs, inputs], bias [outputs].

    backward(grad [rows, outputs]) adds grad.T @ x to weight.grad and the sum of grad's rows to
    bias.grad, and returns grad @ weight.

    Args:
        f: the format of the numbers.
        name: of the parameters, `name`.weight and `name`.bias.
        weight, bias: words of the format; None: there is no bias.
    """

    def __init__(self, f: Any, name: str, weight: np.ndarray, bias: np.ndarray | None = None):
        self.f = f
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = None if bias is None else Parameter(f"{name}.bias", bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.reshape(-1, self.weight.value.shape[1])
        bias = None
        if self.bias:
            bias = np.broadcast_to(self.bias.value, (len(self.x), len(self.bias.value)))
        out: np.ndarray = self.f.product(self.x, self.weight.value, bias)
        self.out = out
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        grad = grad.reshape(self.out.shape)
        self.weight.grad = self.f.product(grad.T, self.x.T, self.weight.grad)
        if self.bias:
            self.bias.grad = self.f.column_sums(grad, self.bias.grad)
        if not self.asked:
            return grad
        dx: np.ndarray = self.f.product(grad, self.weight.value.T)
        return dx

    def collect_params(self) -> list[Parameter]:
        return [self.weight, self.bias] if self.bias else [self.weight]


def tensors(
    prefix: str, inputs: int, outputs: int, wide: bool = False, bias: bool = True
) -> dict[str, Tensor]:
    """Those of a matrix in integers; `prefix` as in "q."."""
    found = {f"{prefix}weight": Tensor(np.int8, (outputs, inputs))}
    if bias:
        found[f"{prefix}bias"] = Tensor(np.int32, (outputs,))
    if not wide:
        found[f"{prefix}mult"] = Tensor(np.int16, (outputs,))
        found[f"{prefix}shift"] = Tensor(np.int8, (outputs,))
    return found


def ranges(prefix: str, inputs: int, takes: str) -> dict[str, tuple[int, int]]:
    """LayerType.ranges of a matrix of so many inputs, of a format: sums stay below 2**30."""
    most = 1 << 29 if takes == INT16 else (1 << 30) - 1 - (inputs << 14)
    return {f"{prefix}bias": (-most, most), f"{prefix}mult": MULTS, f"{prefix}shift": SHIFTS}


def float_tensors(
    prefix: str, inputs: int, outputs: int, bias: bool = True
) -> dict[str, Tensor]:
    """Those of a matrix in floats."""
    found = {f"{prefix}weight": Tensor(float, (outputs, inputs))}
    if bias:
        found[f"{prefix}bias"] = Tensor(float, (outputs,))
    return found


def require_biases(entry: Fields) -> None:
    """Raises ModelError where an entry in a fixed-point format says what int8 and floats may."""
    if "bias" in entry:
        raise ModelError(f"{entry['name']}.bias: the format {entry['format']} always has biases; "
                         "take it out of the config, and zeros into the file")


def from_numbers(entry: Fields, tensors: Tensors) -> dict[str, np.ndarray]:
    """The weight and the bias of a matrix in a number format, in floats."""
    form = from_entry(entry)
    return {"weight": form.decode(tensors["weights"]), "bias": form.decode(tensors["biases"])}


def settle_bias(entry: Fields, quantizer: Quantizer, *parts: str) -> None:
    """An entry without a bias stays so, unless offsets of the input have become one."""
    names = [f"{entry['name']}.{part}bias" for part in parts]
    if entry.pop("bias", True) or any(quantizer.made[name].any() for name in names):
        return
    entry["bias"] = False
    for name in names:
        del quantizer.made[name]


def settle_pairs(entry: Fields, quantizer: Quantizer, *parts: str) -> None:
    """The int8 weights of an entry's int16 products are in pairs of rows in a file, where all of
    them can be."""
    if all(fits(quantizer.made[f"{entry['name']}.{part}weight"]) for part in parts):
        entry["paired"] = True


def parts(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors under a prefix, without it."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()
            if key.startswith(prefix)}


def apply(prefix: str, tensors: Tensors, x: np.ndarray) -> np.ndarray:
    """x @ weight.T + bias in floats."""
    result: np.ndarray = x @ tensors[f"{prefix}weight"].T
    return result + tensors[f"{prefix}bias"] if f"{prefix}bias" in tensors else result


def fold(
    prefix: str, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
) -> dict[str, np.ndarray] | None:
    """LayerType.fold of a matrix: scales and offsets [rows, inputs], None where rows differ."""
    scales, offsets = np.atleast_2d(scales), np.atleast_2d(offsets)
    if (scales != scales[0]).any() or (offsets != offsets[0]).any():
        return None
    weight = np.asarray(tensors[f"{prefix}weight"], np.float64)
    bias = weight @ offsets[0] + tensors.get(f"{prefix}bias", 0)
    return {**tensors, f"{prefix}weight": weight * scales[0], f"{prefix}bias": bias}


def initial(
    prefix: str, inputs: int, outputs: int, rng: np.random.Generator, bias: bool = True
) -> dict[str, np.ndarray]:
    """Uniform within 1/sqrt(inputs), biases 0, in float64."""
    bound = inputs**-0.5
    found = {f"{prefix}weight": rng.uniform(-bound, bound, (outputs, inputs))}
    return found | {f"{prefix}bias": np.zeros(outputs)} if bias else found


def trainable(f: Any, entry: Fields, prefix: str, tensors: Tensors) -> TrainableDense:
    """The training form of a matrix, whose entry may say that it has no bias.

    Raises:
        ModelError: a tensor is missing, or there is one that it does not have.
    """
    name = f"{entry['name']}.{prefix}".removesuffix(".")
    found = parts(prefix, tensors)
    require_parts(name, found, {"weight", "bias"} if entry.get("bias", True) else {"weight"})
    return TrainableDense(f, name, **found)


def in_floats(
    prefix: str, tensors: Tensors, before: float, after: float | None, wide: bool = False
) -> dict[str, np.ndarray]:
    """Of a matrix in int8, what its parameters stand for.

    Args:
        before: of one step of its input.
        after: of its results, in int8; None for int32 sums, whose step `before` then is of a
            weight of 1.
        wide: whether it takes int16, which goes down before its products.
    """
    integers = tensors[f"{prefix}weight"]
    weight = integers / 2.0 ** narrowing(integers) if wide else integers.astype(np.float64)
    scales = np.ones(len(weight))
    if after is not None:
        mult, shift = (tensors[f"{prefix}{part}"].astype(np.float64) for part in ("mult", "shift"))
        scales = after / before * mult / 2**shift
    found = {f"{prefix}weight": weight * scales[:, None]}
    if f"{prefix}bias" in tensors:
        found[f"{prefix}bias"] = tensors[f"{prefix}bias"] * before * scales
    return found


def buffers(takes: str, gives: Signal, inputs: int, outputs: int) -> list[Buffer]:
    """Those of a product: sums of some rows of int8 that become int16, and the result."""
    rows, result = gives.size // outputs, buffer(gives.format, gives.size)
    if gives.format == INT16 and takes == INT8:
        rows = min(rows, max(1, SUMS // (4 * outputs)))
        return [buffer("int32", rows * outputs), result]
    return [result]


class Type(LayerType):
    """[rows, in_features] -> [rows, out_features]."""

    tokenwise = True
    token_field = "rows"
    fields = {"in_features": INPUTS, "out_features": SIZE}
    training_optional = {"rows": SIZE, "bias": FLAG, "activation_bits": BITS}
    retrains = (INT16,)
    arithmetic = {"rounding": one_of(*ROUNDINGS), "overflow": one_of(*OVERFLOWS)}
    optional = {"rows": SIZE, "output": one_of(INT8, INT16, "int32"), "bias": FLAG,
                "format": one_of(INT8, *NAMES), **arithmetic}
    pairs = ("",)
    input_formats = output_formats = (INT8, INT16)
    by_bits = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        form = self.format_of(entry)
        for key in ("output",) if form else self.arithmetic:
            if key in entry:
                raise ModelError(f"{entry['name']}.{key}: unknown where the format is "
                                 f"{form or INT8}; take it out")

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        if self.format_of(entry):
            require_biases(entry)

    def _wide(self, entry: Fields) -> bool:
        return bool(entry.get("output") == "int32")

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        if self.format_of(entry):
            dtype, outputs = Format(entry["format"]).dtype, entry["out_features"]
            return {"weights": Tensor(dtype, (outputs, entry["in_features"])),
                    "biases": Tensor(dtype, (outputs,))}
        return tensors("", entry["in_features"], entry["out_features"], self._wide(entry),
                       entry.get("bias", True))

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return ranges("", entry["in_features"], given.format)

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return float_tensors("", entry["in_features"], entry["out_features"],
                             entry.get("bias", True))

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        rows = entry.get("rows", 1)
        return (entry["in_features"],) if rows == 1 else (rows, entry["in_features"])

    def takes(self, entry: Fields, given: Signal) -> str:
        found = self.format_of(entry) or super().takes(entry, given)
        if entry.get("paired") and found != INT16:
            raise ModelError(f"{entry['name']}.weight: it takes {found}, and only weights of int16 "
                             "products are in pairs of rows")
        return found

    def gives(self, entry: Fields, given: Signal) -> Signal:
        output = self.format_of(entry) or entry.get("output", INT8)
        return Signal(output, entry.get("rows", 1) * entry["out_features"])

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        if self.format_of(entry):
            return super().buffers(entry, given, gives)
        return buffers(given[0].format, gives, entry["in_features"], entry["out_features"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        if self.format_of(entry):
            exact = QDense(**tensors, number=from_entry(entry))
            return lambda x: {"": exact(x)}
        layer = Dense(**tensors)
        layer.format = entry.get("output", INT8)
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": apply("", tensors, *x)}

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        return fold("", tensors, scales, offsets)

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        if self.format_of(entry):
            entry.pop("bias", None)
            quantizer.formatted(entry, {"weight": "weights", "bias": "biases"})
            return
        if self._wide(entry):
            scales = quantizer.linear(name, before, None, quantizer.wide)
            quantizer.scale = before * float(scales[0])
        else:
            scale = quantizer.result(name, quantizer.finest(name, before, quantizer.wide))
            quantizer.linear(name, before, scale, quantizer.wide)
        settle_bias(entry, quantizer, "")
        if quantizer.wide:
            settle_pairs(entry, quantizer, "")

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """int16 results, with a bias and without one."""
        rows, n, m = 3, 33, 10
        for variant in ("bias", "no bias"):
            weight = rng.normal(0, n**-0.5, (m, n))
            bias = rng.normal(0, 0.3, m) * (variant == "bias")
            scale = 8 / 16383
            made = linear(weight, bias, INPUT_SCALE, scale)
            weight_scales = made.pop("scale").astype(np.float64)
            real = {"weight": made["weight"] * weight_scales[:, None],
                    "bias": made["bias"] * INPUT_SCALE * weight_scales}

            def floats(
                outputs: Mapping[str, np.ndarray], real: dict[str, np.ndarray] = real,
                scale: float = scale,
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(rows, n) * INPUT_SCALE
                want = np.clip(apply("", real, x) / scale, -32767, 32767)
                # In steps of int8
                return outputs["y"].ravel() / 129, want.ravel() / 129

            entry = {"type": "dense", "name": "y", "rows": rows, "in_features": n,
                     "out_features": m, "output": INT16}
            yield Example(variant, {"rows": rows, "in_features": n, "out_features": m},
                          [{"type": "relu", "name": "x"}, entry],
                          {f"y.{part}": values for part, values in made.items()}, rows * n, floats)

    def work(self, entry: Fields, tensors: Tensors) -> int:
        return int(entry.get("rows", 1) * entry["in_features"] * entry["out_features"])

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return initial("", entry["in_features"], entry["out_features"], rng,
                       entry.get("bias", True))

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.fields, *self.training_optional)
        found: Fields = {key: entry[key] for key in keys if key in entry}
        if self.format_of(entry):
            return found, from_numbers(entry, tensors)
        wide = entry.get("activation_bits") == 16
        if not self._wide(entry):
            return found, in_floats("", tensors, before[0], entry["scale"], wide)
        step = entry["scale"] / before[0]  # of the weights
        floats = in_floats("", tensors, before[0], None, wide)
        return found, {part: values * step for part, values in floats.items()}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableDense:
        return trainable(f, entry, "", tensors)


TYPE = Type()
