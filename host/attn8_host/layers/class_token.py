"""A learned token in front of the others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..numerics.parameter import Parameter
from ..schema import SIZE, Tensor
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
from .position import stream_tensor
from .quantizer import Quantizer


class TrainableClassToken(TrainableLayer):
    """weight in front of the tokens."""

    def __init__(self, f: Any, name: str, weight: np.ndarray):
        self.f = f
        self.weight = Parameter(f"{name}.weight", weight)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.vstack([self.weight.value, x.reshape(-1, len(self.weight.value))])

    def backward(self, grad: np.ndarray) -> np.ndarray:
        grad = grad.reshape(-1, len(self.weight.value))
        self.weight.grad = self.f.add(self.weight.grad, grad[0])
        return grad[1:]

    def collect_params(self) -> list[Any]:
        return [self.weight]


class Type(LayerType):
    """[seq_len, embed_dim] -> [seq_len + 1, embed_dim]: NAME.weight [embed_dim] comes first."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE}
    input_formats = output_formats = (INT16,)
    tied = True
    token_field = "seq_len"

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(np.int16, (entry["embed_dim"],))}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(float, (entry["embed_dim"],))}

    def tokens_of(self, entry: Fields, tokens: int) -> int | None:
        return tokens + 1

    def reads_padding(self, entry: Fields) -> bool:
        return False

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(INT16, given.size + entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda x: {"": np.vstack([tensors["weight"], x])}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": np.vstack([tensors["weight"], x[0]])}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        key = f"{entry['name']}.weight"
        scale = quantizer.result(entry["name"])  # its peak is that of the token, too
        quantizer.made[key] = stream_tensor(quantizer.tensors[key], scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In front of five tokens."""
        weight = rng.integers(-16000, 16001, 6).astype(np.int16)

        def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            want = np.concatenate([weight, outputs["wide"].ravel()])
            return outputs["token"].ravel(), want.astype(np.float64)

        entry = {"type": "class_token", "name": "token", "seq_len": 5, "embed_dim": 6}
        yield Example("int16", {"seq_len": 5, "embed_dim": 6}, [requantizing("wide", 128), entry],
                      {"token.weight": weight}, 30, floats)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"weight": rng.normal(0, 0.02, (entry["embed_dim"],))}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return ({key: entry[key] for key in ("type", "name", *self.fields)},
                {"weight": tensors["weight"] * entry["scale"]})

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableClassToken:
        require_parts(entry["name"], tensors, {"weight"})
        return TrainableClassToken(f, entry["name"], **tensors)


TYPE = Type()
