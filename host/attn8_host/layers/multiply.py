"""Product of two tensors, element by element: gates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..numerics.integers import requant
from ..numerics.scales import finest, requant_constants
from ..schema import MULT, SHIFT, one_of
from .base import (
    INPUT_SCALE,
    INT8,
    INT16,
    Example,
    Fields,
    Layer,
    LayerType,
    Tensors,
    TrainableLayer,
)
from .quantizer import Quantizer


@dataclass
class Multiply:
    """requant(a * b; mult, shift) of int8 or of int16; int8 or int16."""

    mult: int
    shift: int
    format: str = INT8

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = a.astype(np.int64) * b.reshape(a.shape)
        return requant(products, self.mult, self.shift, self.format)


class TrainableMultiply(TrainableLayer):
    """a * b, as words of the format."""

    def __init__(self, f: Any):
        self.f = f

    def __call__(self, *x: np.ndarray) -> np.ndarray:
        self.a, self.b = x[0], x[1].reshape(x[0].shape)
        out: np.ndarray = self.f.multiply(self.a, self.b)
        return out

    def backward(self, grad: np.ndarray) -> list[np.ndarray]:
        grad = grad.reshape(self.a.shape)
        return [self.f.multiply(grad, self.b), self.f.multiply(grad, self.a)]


class Type(LayerType):
    """What both its inputs give, multiplied."""

    tokenwise = True
    most_lsb = 1.0
    in_place = True
    arity = 2
    optional = {"output": one_of(INT8, INT16)}
    integers = {"mult": MULT, "shift": SHIFT}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    by_bits = True

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Multiply(entry["mult"], entry["shift"], entry.get("output", INT8))
        return lambda a, b: {"": layer(a, b)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0] * x[1].reshape(x[0].shape)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        product = quantizer.inputs[0] * quantizer.inputs[1]
        scale = quantizer.result(entry["name"], finest(product))
        entry["mult"], entry["shift"] = requant_constants(product / scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of the input and its positive part."""
        for output, most in ((INT8, 127), (INT16, 32767)):
            ratio = INPUT_SCALE / 2 if output == INT8 else 0.49
            mult, shift = requant_constants(ratio)

            def floats(
                outputs: Mapping[str, np.ndarray], ratio: float = ratio, most: int = most,
            ) -> tuple[np.ndarray, np.ndarray]:
                product = outputs["a"].astype(np.float64) * outputs["b"] * ratio
                return outputs["product"], np.clip(product, -most, most)

            table = np.roll(np.arange(-128, 128), 128).clip(-127).astype(np.int8)
            yield Example(output, {"size": 33}, [
                {"type": "tanh", "name": "a"},
                {"type": "relu", "name": "b", "inputs": ["input"]},
                {"type": "multiply", "name": "product", "inputs": ["a", "b"], "mult": mult,
                 "shift": shift, "output": output},
            ], {"a.table": table}, 33, floats)  # fmt: skip

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", "inputs")}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableMultiply:
        return TrainableMultiply(f)


TYPE = Type()
