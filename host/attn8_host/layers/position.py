"""Embeddings of positions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..numerics.integers import saturated
from ..numerics.parameter import Parameter
from ..schema import SIZE, Tensor
from .add import Add
from .base import (
    INT16,
    Example,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    TrainableLayer,
    require_parts,
)
from .convert import requantizing
from .quantizer import Quantizer


def stream_tensor(values: np.ndarray, scale: float) -> np.ndarray:
    """Numbers as int16 of a stream."""
    return saturated(np.floor(np.asarray(values, np.float64) / scale + 0.5).astype(np.int64), INT16)


class TrainablePosition(TrainableLayer):
    """x + weight."""

    def __init__(self, f: Any, name: str, weight: np.ndarray):
        self.f = f
        self.weight = Parameter(f"{name}.weight", weight)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        out: np.ndarray = self.f.add(x.reshape(self.weight.value.shape), self.weight.value)
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.weight.grad = self.f.add(self.weight.grad, grad.reshape(self.weight.grad.shape))
        return grad

    def collect_params(self) -> list[Any]:
        return [self.weight]


class Type(LayerType):
    """[seq_len, embed_dim] -> [seq_len, embed_dim]: NAME.weight of the same shape is added."""

    tokenwise = True
    most_lsb = 0.51
    token_field = "seq_len"
    in_place = True
    fields = {"seq_len": SIZE, "embed_dim": SIZE}
    input_formats = output_formats = (INT16,)
    tied = True

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(np.int16, self._shape(entry))}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(float, self._shape(entry))}

    def _shape(self, entry: Fields) -> tuple[int, int]:
        return entry["seq_len"], entry["embed_dim"]

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return self._shape(entry)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Add()
        return lambda x: {"": layer(x, tensors["weight"])}

    def stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        layer, rows = Add(), iter(tensors["weight"])

        def step(x: np.ndarray) -> dict[str, np.ndarray]:
            row = next(rows, None)
            if row is None:
                raise ValueError(f"{entry['name']}: it has {entry['seq_len']} positions and all "
                                 "are taken; reset")
            return {"": layer(x, row)}

        return step

    def float_stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        rows = iter(tensors["weight"])
        return lambda x: {"": x + next(rows)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0] + tensors["weight"]}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        key = f"{entry['name']}.weight"
        weight = quantizer.tensors[key]
        scale = quantizer.result(entry["name"], float(np.abs(weight).max()) / 32767)
        quantizer.made[key] = stream_tensor(weight, scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Positions of about the input's size."""
        weight = rng.integers(-16000, 16001, (5, 6)).astype(np.int16)

        def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            sums = outputs["wide"].ravel() + weight.ravel().astype(np.float64)
            return outputs["position"].ravel(), np.clip(sums, -32767, 32767)

        entry = {"type": "position", "name": "position", "seq_len": 5, "embed_dim": 6}
        yield Example("int16", {"seq_len": 5, "embed_dim": 6}, [requantizing("wide", 200), entry],
                      {"position.weight": weight}, 30, floats)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"weight": rng.normal(0, 0.02, self._shape(entry))}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return ({key: entry[key] for key in ("type", "name", *self.fields)},
                {"weight": tensors["weight"] * entry["scale"]})

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainablePosition:
        require_parts(entry["name"], tensors, {"weight"})
        return TrainablePosition(f, entry["name"], **tensors)


TYPE = Type()
