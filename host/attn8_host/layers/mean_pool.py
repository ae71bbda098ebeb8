"""Mean over the tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..numerics.integers import int32, requant
from ..numerics.scales import requant_constants
from ..schema import INTEGER, SIZE
from .base import Fields, Layer, LayerType, Signal, Tensors
from .quantizer import Quantizer


@dataclass
class MeanPool:
    """int8 [seq_len, embed_dim] -> [embed_dim]; (mult, shift) hold the division by seq_len."""

    mult: int
    shift: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return requant(int32(x.astype(np.int64).sum(axis=0)), self.mult, self.shift)


class TrainableMeanPool:
    """[seq_len, embed_dim] -> [embed_dim]."""

    def __init__(self, f: Any, seq_len: int):
        self.f = f
        self.seq_len = seq_len
        self._factor = f.factor(1, seq_len)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = x.reshape(self.seq_len, -1)
        sums = self.f.column_sums(x, np.zeros_like(x[0]))
        out: np.ndarray = self.f.scale(sums, self._factor)
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        share = self.f.scale(grad, self._factor)
        return np.broadcast_to(share, (self.seq_len, share.size)).copy()

    def collect_params(self) -> list[Any]:
        return []


class Type(LayerType):
    """[seq_len, embed_dim] -> [embed_dim]."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE}
    integers = {"mult": INTEGER, "shift": INTEGER}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal("int8", entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = MeanPool(entry["mult"], entry["shift"])
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0].mean(axis=0)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        before = quantizer.scale
        quantizer.scale = quantizer.range_of(entry["name"]) / 127
        ratio = before / quantizer.scale / entry["seq_len"]
        entry["mult"], entry["shift"] = requant_constants(ratio)

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableMeanPool:
        return TrainableMeanPool(f, entry["seq_len"])


TYPE = Type()
