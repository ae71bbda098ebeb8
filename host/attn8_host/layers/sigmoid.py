"""The logistic function."""

from typing import Any

import numpy as np

from ..train.pointwise import Activation
from .base import Fields, Tensors
from .lookup import LookupType


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e**-x), for any x."""
    return 0.5 * (1 + np.tanh(0.5 * x))


class TrainableSigmoid(Activation):
    """y = 1 / (1 + e**-x), of the slope y - y*y."""

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.sigmoid(x)
        return result

    def slope(self) -> np.ndarray:
        result: np.ndarray = self.f.subtract(self.out, self.f.multiply(self.out, self.out))
        return result


class Type(LookupType):
    """1 / (1 + e**-x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        return sigmoid(x)

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> Activation:
        return TrainableSigmoid(f)


TYPE = Type()
