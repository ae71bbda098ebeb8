"""Hyperbolic tangent."""

from typing import Any

import numpy as np

from ..train.pointwise import Activation
from .base import Fields, Tensors
from .lookup import LookupType


class TrainableTanh(Activation):
    """y = tanh(x), of the slope 1 - y*y."""

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.tanh(x)
        return result

    def slope(self) -> np.ndarray:
        ones = np.full_like(self.out, self.f.array(1.0))
        result: np.ndarray = self.f.subtract(ones, self.f.multiply(self.out, self.out))
        return result


class Type(LookupType):
    """tanh(x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.tanh(x)
        return result

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> Activation:
        return TrainableTanh(f)


TYPE = Type()
