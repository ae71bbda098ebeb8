"""Sum of two streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..numerics.integers import saturated
from .base import INT16, Example, Fields, Layer, LayerType, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


@dataclass
class Add:
    """a + b within +-32767, int16 of one scale."""

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return saturated(a.astype(np.int64) + b.reshape(a.shape), INT16)


class TrainableAdd(TrainableLayer):
    """a + b, as words of the format."""

    def __init__(self, f: Any):
        self.f = f

    def __call__(self, *x: np.ndarray) -> np.ndarray:
        out: np.ndarray = self.f.add(x[0], x[1].reshape(x[0].shape))
        return out

    def backward(self, grad: np.ndarray) -> list[np.ndarray]:
        return [grad, grad]


class Type(LayerType):
    """What both its inputs give, added."""

    tokenwise = True
    most_lsb = 0.51
    in_place = True
    arity = 2
    input_formats = output_formats = (INT16,)
    tied = True

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Add()
        return lambda a, b: {"": layer(a, b)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0] + x[1].reshape(x[0].shape)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        quantizer.result(entry["name"])

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of the input twice, with two scales; the largest sums saturate."""
        for size in (1, 33):
            def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
                sums = outputs["a"].astype(np.float64) + outputs["b"]
                return outputs["sum"], np.clip(sums, -32767, 32767)

            yield Example("int16", {"size": size}, [
                requantizing("a", 128), requantizing("b", 200, "input"),
                {"type": "add", "name": "sum", "inputs": ["a", "b"]},
            ], {}, size, floats)  # fmt: skip

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", "inputs")}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableAdd:
        return TrainableAdd(f)


TYPE = Type()
