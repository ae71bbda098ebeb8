"""SiLU."""

from typing import Any

import numpy as np

from ..train.pointwise import Activation
from .base import Fields, Tensors
from .lookup import LookupType
from .sigmoid import sigmoid


class TrainableSiLU(Activation):
    """x * g, g = sigmoid(x), of the slope g + x*g - x*g*g."""

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self.f.sigmoid(x))
        return result

    def slope(self) -> np.ndarray:
        f = self.f
        gate = f.sigmoid(self.x)
        product = f.multiply(self.x, gate)
        rest = f.subtract(product, f.multiply(product, gate))
        result: np.ndarray = f.add(rest, gate)
        return result


class Type(LookupType):
    """x / (1 + e**-x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = x * sigmoid(x)
        return result

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> Activation:
        return TrainableSiLU(f)


TYPE = Type()
