"""Mean over the tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..numerics.integers import int32, requant
from ..numerics.scales import finest, requant_constants
from ..schema import INTEGER, SIZE, one_of
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors
from .convert import requantizing
from .quantizer import Quantizer


@dataclass
class MeanPool:
    """int8 or int16 [seq_len, embed_dim] -> [embed_dim], int8 or int16.

    (mult, shift) hold the division by seq_len.
    """

    mult: int
    shift: int
    format: str = INT8

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return requant(int32(x.astype(np.int64).sum(axis=0)), self.mult, self.shift,
                       self.format)


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
    optional = {"output": one_of(INT8, INT16)}
    integers = {"mult": INTEGER, "shift": INTEGER}
    input_formats = output_formats = (INT8, INT16)

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry.get("output", INT8), entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = MeanPool(entry["mult"], entry["shift"], entry.get("output", INT8))
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0].mean(axis=0)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        before, tokens = quantizer.scale, entry["seq_len"]
        scale = quantizer.result(entry["name"], finest(before / tokens))
        entry["mult"], entry["shift"] = requant_constants(before / scale / tokens)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of all formats that it takes and gives."""
        tokens, width = 5, 7
        for takes, gives in product((INT8, INT16), repeat=2):
            before = {"type": "relu", "name": "x"} if takes == INT8 else requantizing("x", 128)
            ratio = 0.37 / tokens / (128 if (takes, gives) == (INT16, INT8) else 1)
            mult, shift = requant_constants(ratio)

            def floats(
                outputs: Mapping[str, np.ndarray], ratio: float = ratio,
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(tokens, width).astype(np.float64)
                return outputs["pool"], x.sum(axis=0) * ratio

            entry = {"type": "mean_pool", "name": "pool", "seq_len": tokens, "embed_dim": width,
                     "mult": mult, "shift": shift, "output": gives}
            yield Example(f"{takes} to {gives}", {"seq_len": tokens, "embed_dim": width},
                          [before, entry], {}, tokens * width, floats)

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableMeanPool:
        return TrainableMeanPool(f, entry["seq_len"])


TYPE = Type()
