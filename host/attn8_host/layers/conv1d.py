"""Convolution of one channel, in int8 and in the other formats."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import NAMES, OVERFLOWS, ROUNDINGS, Format, from_entry
from ..numerics.parameter import Parameter
from ..numerics.scales import linear, quantize
from ..schema import SIZE, Tensor, one_of
from . import dense
from .base import INPUT_SCALE, Example, Fields, Layer, LayerType, Signal, Tensors
from .dense import Dense


def windows(x: np.ndarray, kernel_size: int, stride: int) -> np.ndarray:
    """[length] -> [positions, kernel_size]: what each position sees."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel_size)[::stride]


@dataclass
class Conv1D:
    """int8 [length] -> [filters, positions], or [positions, filters] where time_major.

    dense holds the parameters, weight int8 [filters, kernel_size].
    """

    dense: Dense
    stride: int
    time_major: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        out = self.dense(windows(x, self.dense.weight.shape[1], self.stride))
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


class TrainableConv1D:
    """[length] -> [positions, filters]: out[t] = weight @ x[t*stride : t*stride + K] + bias.

    Args:
        f: the format of the numbers.
        name: of the parameters.
        weight: words [filters, K].
        bias: words [filters].
        stride: of the windows.
    """

    def __init__(self, f: Any, name: str, weight: np.ndarray, bias: np.ndarray, stride: int):
        self.f = f
        self.stride = stride
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = Parameter(f"{name}.bias", bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.ravel()
        kernel_size = self.weight.value.shape[1]
        self._windows = windows(self.x, kernel_size, self.stride)
        bias = np.broadcast_to(self.bias.value, (len(self._windows), len(self.bias.value)))
        out: np.ndarray = self.f.product(self._windows, self.weight.value, bias)
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f, s = self.f, self.stride
        n = len(self._windows)
        grad = grad.reshape(n, -1)
        self.weight.grad = f.product(grad.T, self._windows.T, self.weight.grad)
        self.bias.grad = f.column_sums(grad, self.bias.grad)
        dx = np.zeros_like(self.x)
        for k, column in enumerate(self.weight.value.T):
            part = slice(k, k + (n - 1) * s + 1, s)
            dx[part] = f.product(grad, column[None], dx[part, None])[:, 0]
        return dx

    def collect_params(self) -> list[Parameter]:
        return [self.weight, self.bias]


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """[length] -> [positions, filters], with weight [filters, kernel_size]."""
    result: np.ndarray = windows(x, weight.shape[1], stride) @ weight.T + bias
    return result


class Type(LayerType):
    """[length] -> [positions, filters], as attention takes it."""

    fields = {"length": SIZE, "kernel_size": SIZE, "stride": SIZE, "filters": SIZE}
    optional = {"format": one_of("int8", *NAMES), "rounding": one_of(*ROUNDINGS),
                "overflow": one_of(*OVERFLOWS)}

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["kernel_size"] > entry["length"]:
            raise ModelError(f"{entry['name']}.kernel_size: expected at most the length "
                             f"{entry['length']}, got {entry['kernel_size']}")

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        size, filters = entry["kernel_size"], entry["filters"]
        if entry.get("format", "int8") == "int8":
            return dense.tensors("", size, filters)
        dtype = Format(entry["format"]).dtype
        return {"weights": Tensor(dtype, (filters, size)), "biases": Tensor(dtype, (filters,))}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return (entry["length"],)

    def takes(self, entry: Fields, given: Signal) -> str:
        form: str = entry.get("format", "int8")
        return form

    def gives(self, entry: Fields, given: Signal) -> Signal:
        positions = (entry["length"] - entry["kernel_size"]) // entry["stride"] + 1
        return Signal(entry.get("format", "int8"), positions * entry["filters"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        stride = entry["stride"]
        layer: Conv1D | QConv1D
        if entry.get("format", "int8") == "int8":
            layer = Conv1D(Dense(**tensors), stride, True)
        else:
            layer = QConv1D(**tensors, stride=stride, format=from_entry(entry), time_major=True)
        return lambda x: {"": layer(x)}

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In int8, behind a ReLU; the first has the published sizes."""
        for length, size, stride, filters in ((128, 5, 2, 4), (33, 7, 3, 5)):
            sizes = {"length": length, "kernel_size": size, "stride": stride, "filters": filters}
            weight, bias = rng.normal(size=(filters, size)), rng.normal(size=filters)
            x = quantize(rng.normal(size=length), INPUT_SCALE) * INPUT_SCALE
            scale = float(np.abs(convolve(x, weight, bias, stride)).max()) / 127
            made = linear(weight, bias, INPUT_SCALE, scale)
            weight_scales = made.pop("scale").astype(np.float64)
            form = partial(
                convolve, weight=made["weight"] * weight_scales[:, None],
                bias=made["bias"] * INPUT_SCALE * weight_scales, stride=stride,
            )

            def floats(
                outputs: Mapping[str, np.ndarray], form: Callable[..., np.ndarray] = form,
                scale: float = scale,
            ) -> tuple[np.ndarray, np.ndarray]:
                want = form(outputs["relu"].astype(np.float64) * INPUT_SCALE) / scale
                return outputs["conv"], np.clip(want, -127, 127)

            yield Example(
                "int8", sizes,
                [{"type": "relu", "name": "relu"}, {"type": "conv1d", "name": "conv", **sizes}],
                {f"conv.{part}": tensor for part, tensor in made.items()}, length, floats,
            )

    def work(self, entry: Fields, tensors: Tensors) -> int:
        return self.gives(entry, Signal("", 0)).size * int(entry["kernel_size"])

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return dense.initial("", entry["kernel_size"], entry["filters"], rng)

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableConv1D:
        return TrainableConv1D(f, entry["name"], **tensors, stride=entry["stride"])


TYPE = Type()
