"""ReLU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..numerics.formats import FIXED, NAMES
from .base import INT8, INT16, Fields, Layer, LayerType, Tensors, TrainableLayer
from .quantizer import Quantizer


class ReLU:
    """max(x, 0) over int8, int16 or a number format; -0.0 stays."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, x.dtype.type(0), x)


class TrainableReLU(TrainableLayer):
    """max(x, 0); the gradient passes where x > 0."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        result: np.ndarray = np.maximum(x, 0)
        return result

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return np.where(self.x > 0, grad.reshape(self.x.shape), 0)


class Type(LayerType):
    """max(x, 0) of each value."""

    retrains = (INT16, *FIXED)
    input_formats = output_formats = (INT8, INT16, *NAMES)
    tokenwise = True
    in_place = True
    keeps_scale = tied = True

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = ReLU()
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": np.maximum(x[0], 0)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {"type": entry["type"], "name": entry["name"]}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableReLU:
        return TrainableReLU()


TYPE = Type()
