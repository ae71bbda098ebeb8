"""Convolution, in int8 and, of one channel, in the other formats."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import NAMES, OVERFLOWS, ROUNDINGS, Format, from_entry
from ..numerics.parameter import Parameter
from ..numerics.scales import linear, quantize
from ..schema import COUNT, FLAG, MAX_INPUTS, MOST, SIZE, Tensor, one_of
from . import dense
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
)
from .dense import Dense
from .quantizer import Quantizer


def windows(x: np.ndarray, kernel_size: int, stride: int) -> np.ndarray:
    """[length] -> [positions, kernel_size]: what each position sees."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel_size)[::stride]


@dataclass(frozen=True)
class Geometry:
    """What a filter sees, where and how often."""

    kernel_size: int
    stride: int
    channels: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def positions(self, length: int) -> int:
        """How often; 0 or less where the input is too short."""
        reach = self.dilation * (self.kernel_size - 1) + 1
        return (length + 2 * self.padding - reach) // self.stride + 1

    def convolve(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """[length * channels] -> [positions, filters].

        weight [filters, kernel_size * channels / groups]; a group has as many filters as the next.
        """
        x = np.pad(x.reshape(-1, self.channels), ((self.padding, self.padding), (0, 0)))
        first = np.arange(0, len(x) - self.dilation * (self.kernel_size - 1), self.stride)
        taps = self.dilation * np.arange(self.kernel_size)
        seen = x[first[:, None] + taps]  # [positions, kernel_size, channels]
        if self.groups == 1:
            dense: np.ndarray = seen.reshape(len(seen), -1) @ weight.T
            return dense
        by_channel = weight.reshape(self.channels, -1, self.kernel_size)
        out: np.ndarray = np.einsum("pkc,cmk->pcm", seen, by_channel)
        return out.reshape(len(seen), -1)


@dataclass
class Conv1D:
    """int8 or int16 [length, channels] -> [filters, positions]; time_major: [positions, filters].

    dense holds the parameters, weight int8 [filters, kernel_size * channels / groups].
    """

    dense: Dense
    geometry: Geometry
    time_major: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        weight = self.dense.weight.astype(np.int64)
        out = self.dense.results(self.geometry.convolve(self.dense.narrowed(x), weight))
        return out if self.time_major else out.T


@dataclass
class QConv1D:
    """The same in fixed point or floats; weights [filters, kernel_size], biases [filters]."""

    weights: np.ndarray
    biases: np.ndarray
    stride: int
    format: Format
    time_major: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        seen = windows(x, self.weights.shape[1], self.stride)
        out = self.format.matmul(seen, self.weights.T, self.biases)
        return out if self.time_major else out.T


class TrainableConv1D(TrainableLayer):
    """[length, channels] -> [positions, filters], with zeros before and behind x.

    The board takes products of windows by strides: one where a window lies in one piece, with
    dilation one for each tap, which adds to those before, with groups one for each channel. What is
    rounded once is the sum of such a product.

    Args:
        f: the format of the numbers.
        name: of the parameters.
        seen: the windows.
        weight: words [filters, K] of one channel, else [filters, K, channels / groups].
        bias: words [filters]; None: there is none.
    """

    def __init__(
        self, f: Any, name: str, seen: Geometry, weight: np.ndarray, bias: np.ndarray | None = None
    ):
        self.f = f
        self.seen = seen
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = None if bias is None else Parameter(f"{name}.bias", bias)

    def _pieces(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Of each product its filters, its columns of the weight, and their places in a window."""
        seen, whole = self.seen, slice(None)
        filters, size = len(self.weight.value), seen.kernel_size
        taps = seen.dilation * seen.channels * np.arange(size)
        if seen.groups > 1 or (seen.channels == 1 and seen.dilation > 1):
            each = filters // seen.groups
            for c in range(seen.groups):
                yield slice(c * each, (c + 1) * each), whole, c + taps
        elif seen.dilation > 1 and size > 1:
            for k, start in enumerate(taps):
                yield (whole, slice(k * seen.channels, (k + 1) * seen.channels),
                       start + np.arange(seen.channels))
        else:
            yield whole, whole, np.arange(size * seen.channels)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        seen = self.seen
        self.x = np.pad(x.ravel(), seen.padding * seen.channels)
        weight = self.weight.value.reshape(len(self.weight.value), -1)
        n = seen.positions(x.size // seen.channels)
        self._first = np.arange(n)[:, None] * (seen.stride * seen.channels)
        out = np.zeros((n, len(weight)), self.x.dtype)
        if self.bias:
            out[:] = self.bias.value
        for filters, columns, places in self._pieces():
            windows = self.x[self._first + places]
            out[:, filters] = self.f.product(windows, weight[filters, columns], out[:, filters])
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f = self.f
        weight = self.weight.value.reshape(len(self.weight.value), -1)
        grad = grad.reshape(len(self._first), -1)
        total = self.weight.grad.reshape(weight.shape).copy()
        dx = np.zeros_like(self.x)
        for filters, columns, places in self._pieces():
            windows, own = self.x[self._first + places], grad[:, filters]
            total[filters, columns] = f.product(own.T, windows.T, total[filters, columns])
            if self.asked:
                for place, column in zip(places, weight[filters, columns].T, strict=True):
                    at = self._first + place
                    dx[at] = f.product(own, column[None], dx[at])
        self.weight.grad = total.reshape(self.weight.grad.shape)
        if self.bias:
            self.bias.grad = f.column_sums(grad, self.bias.grad)
        around = self.seen.padding * self.seen.channels
        return dx[around : len(dx) - around]

    def collect_params(self) -> list[Parameter]:
        return [self.weight, self.bias] if self.bias else [self.weight]


class Type(LayerType):
    """[length, channels] -> [positions, filters], as attention takes it."""

    training_fields = {"length": SIZE, "kernel_size": SIZE, "stride": SIZE, "filters": SIZE}
    fields = training_fields
    geometry = {"channels": SIZE, "padding": COUNT, "dilation": SIZE, "groups": SIZE}
    arithmetic = {"rounding": one_of(*ROUNDINGS), "overflow": one_of(*OVERFLOWS)}
    optional = {**geometry, "format": one_of(INT8, *NAMES), "output": one_of(INT8, INT16),
                "bias": FLAG, **arithmetic}
    training_optional = {"bias": FLAG, **geometry, "activation_bits": BITS}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    token_field = "length"
    by_bits = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        name, form = entry["name"], entry.get("format", INT8)
        for key in self.arithmetic if form == INT8 else (*self.geometry, "output", "bias"):
            if key in entry:
                raise ModelError(f"{name}.{key}: unknown where the format is {form}; take it out")
        self._check_geometry(entry)
        if form != INT8 and entry["filters"] > MAX_INPUTS:
            raise ModelError(f"{name}.filters: expected 1 to {MAX_INPUTS} of {form}, got "
                             f"{entry['filters']}")

    def _check_geometry(self, entry: Fields) -> None:
        """Raises ModelError unless there is at least one window, and what it holds fits."""
        name, seen = entry["name"], geometry(entry)
        if seen.positions(entry["length"]) < 1:
            most = (entry["length"] + 2 * seen.padding - 1) // seen.dilation + 1
            raise ModelError(f"{name}.kernel_size: expected at most {most} with this length, "
                             f"padding and dilation, got {seen.kernel_size}")
        if seen.positions(entry["length"]) > MOST:
            raise ModelError(f"{name}.padding: expected at most {MOST} positions, got "
                             f"{seen.positions(entry['length'])}")
        if seen.groups not in (1, seen.channels):
            raise ModelError(f"{name}.groups: expected 1 or {seen.channels}, as many as channels, "
                             f"got {seen.groups}")
        if self._seen(entry) > MAX_INPUTS:
            raise ModelError(f"{name}.kernel_size: expected at most {MAX_INPUTS} values for a "
                             f"filter, got {self._seen(entry)}")
        if entry["filters"] % seen.groups:
            raise ModelError(f"{name}.filters: expected a multiple of {seen.groups} groups, "
                             f"got {entry['filters']}")

    def _weight(self, entry: Fields) -> tuple[int, ...]:
        """The shape of the weights."""
        seen = geometry(entry)
        own = () if seen.channels == 1 else (seen.channels // seen.groups,)
        return entry["filters"], seen.kernel_size, *own

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        size, filters = entry["kernel_size"], entry["filters"]
        if entry.get("format", INT8) == INT8:
            found = dense.tensors("", size, filters, False, entry.get("bias", True))
            return {**found, "weight": Tensor(np.int8, self._weight(entry))}
        dtype = Format(entry["format"]).dtype
        return {"weights": Tensor(dtype, (filters, size)), "biases": Tensor(dtype, (filters,))}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return dense.ranges("", self._seen(entry), given.format)

    def _seen(self, entry: Fields) -> int:
        """How many values a filter sees."""
        return int(np.prod(self._weight(entry)[1:]))

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        found = {"weight": Tensor(float, self._weight(entry))}
        if entry.get("bias", True):
            found["bias"] = Tensor(float, (entry["filters"],))
        return found

    def tokens_of(self, entry: Fields, tokens: int) -> int | None:
        if entry.get("format", INT8) != INT8:
            return None
        return max(1, geometry(entry).positions(tokens))

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["length"], entry.get("channels", 1)

    def takes(self, entry: Fields, given: Signal) -> str:
        form: str = entry.get("format", INT8)
        wide = form == INT8 and given.format == INT16 and geometry(entry).groups == 1
        return INT16 if wide else form

    def wants(self, entry: Fields, bits: int) -> str:
        wanted = super().wants(entry, bits)
        if wanted == INT16 and geometry(entry).groups > 1:
            raise ModelError(f"{entry['name']}.activation_bits: groups compute in int8 only; give "
                             'it "activation_bits": 8')
        return wanted

    def gives(self, entry: Fields, given: Signal) -> Signal:
        positions = geometry(entry).positions(entry["length"])
        output: str = entry.get("output") or entry.get("format", INT8)
        return Signal(output, positions * entry["filters"])

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        if gives.format not in (INT8, INT16):
            return super().buffers(entry, given, gives)
        form, rows = given[0].format, gives.size // int(entry["filters"])
        seen = int(entry["kernel_size"]) * int(entry.get("channels", 1))
        return [buffer(form, rows * seen), *dense.buffers(form, gives, seen, entry["filters"])]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer: Conv1D | QConv1D
        if entry.get("format", INT8) == INT8:
            matrix = tensors["weight"].reshape(entry["filters"], -1)
            rows = Dense(**{**tensors, "weight": matrix})
            rows.format = entry.get("output", INT8)
            layer = Conv1D(rows, geometry(entry), True)
        else:
            layer = QConv1D(**tensors, stride=entry["stride"], format=from_entry(entry),
                            time_major=True)
        return lambda x: {"": layer(x.ravel())}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        matrix = tensors["weight"].reshape(entry["filters"], -1)
        return {"": geometry(entry).convolve(x[0].ravel(), matrix) + tensors.get("bias", 0)}

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        seen = geometry(entry)
        if (scales != scales[0]).any() or (offsets != offsets[0]).any():
            return None
        if seen.padding and offsets.any():  # what it pads with stands for 0
            return None
        weight = np.asarray(tensors["weight"], np.float64)
        # Each filter's taps by channel, [filters, kernel_size, channels / groups]
        taps = weight.reshape(len(weight), seen.kernel_size, -1)
        own = np.arange(seen.channels)[None]
        if seen.groups > 1:
            own = np.repeat(np.arange(seen.channels), len(weight) // seen.channels)[:, None]
        folded = (taps * scales[0][own][:, None]).reshape(weight.shape)
        bias = tensors.get("bias", 0) + (taps * offsets[0][own][:, None]).sum(axis=(1, 2))
        return {**tensors, "weight": folded, "bias": bias}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        if self.format_of(entry):
            quantizer.formatted(entry, {"weight": "weights", "bias": "biases"})
            return
        scale = quantizer.result(name, quantizer.finest(name, before, quantizer.wide))
        quantizer.linear(name, before, scale, quantizer.wide)
        dense.settle_bias(entry, quantizer, "")

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In int8, behind a ReLU; the first has the published sizes."""
        for variant, length, filters, seen in (
            ("int8", 128, 4, Geometry(5, 2)), ("int8", 33, 5, Geometry(7, 3)),
            ("channels", 32, 8, Geometry(3, 1, channels=6, padding=1)),
            ("channels", 29, 5, Geometry(4, 2, channels=3, padding=3, dilation=2)),
            ("depthwise", 32, 8, Geometry(5, 1, channels=8, padding=2, groups=8)),
            ("depthwise", 17, 6, Geometry(2, 2, channels=3, padding=1, dilation=3, groups=3)),
        ):
            used = {key: value for key, value in asdict(seen).items()
                    if key in self.fields or value != getattr(Geometry, key)}
            fields = {"length": length, "filters": filters, **used}
            x = quantize(rng.normal(size=length * seen.channels), INPUT_SCALE) * INPUT_SCALE
            shape = self._weight(fields)
            weight, bias = rng.normal(size=shape), rng.normal(size=filters)
            out = seen.convolve(x, weight.reshape(filters, -1)) + bias
            scale = float(np.abs(out).max()) / 127
            made = linear(weight.reshape(filters, -1), bias, INPUT_SCALE, scale)
            weight_scales = made.pop("scale").astype(np.float64)
            matrix = made["weight"] * weight_scales[:, None]
            bias = made["bias"] * INPUT_SCALE * weight_scales
            made["weight"] = made["weight"].reshape(shape)

            def floats(
                outputs: Mapping[str, np.ndarray], seen: Geometry = seen,
                matrix: np.ndarray = matrix, bias: np.ndarray = bias, scale: float = scale,
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["relu"].astype(np.float64) * INPUT_SCALE
                want = (seen.convolve(x, matrix) + bias) / scale
                return outputs["conv"], np.clip(want, -127, 127)

            yield Example(
                variant, fields,
                [{"type": "relu", "name": "relu"}, {"type": "conv1d", "name": "conv", **fields}],
                {f"conv.{part}": tensor for part, tensor in made.items()},
                length * seen.channels, floats,
            )

    def work(self, entry: Fields, tensors: Tensors) -> int:
        seen = geometry(entry)
        return (self.gives(entry, Signal("", 0)).size
                * seen.kernel_size * seen.channels // seen.groups)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        found = dense.initial("", self._seen(entry), entry["filters"], rng, entry.get("bias", True))
        return found | {"weight": found["weight"].reshape(self._weight(entry))}

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        self._check_geometry(entry)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.training_fields, *self.training_optional)
        if self.format_of(entry):
            return ({key: entry[key] for key in keys if key in entry},
                    dense.from_numbers(entry, tensors))
        weight = tensors["weight"].reshape(len(tensors["weight"]), -1)
        found = dense.in_floats("", {**tensors, "weight": weight}, before[0], entry["scale"],
                                entry.get("activation_bits") == 16)
        found["weight"] = found["weight"].reshape(tensors["weight"].shape)
        return {key: entry[key] for key in keys if key in entry}, found

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableConv1D:
        return TrainableConv1D(f, entry["name"], geometry(entry), **tensors)


def geometry(entry: Fields) -> Geometry:
    """Of an entry of a model file."""
    return Geometry(**{key: entry[key] for key in ("kernel_size", "stride", *Type.geometry)
                       if key in entry})


TYPE = Type()
