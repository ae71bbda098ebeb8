"""The int8 layers of a model before those that train."""

import numpy as np

from ...model import Model
from ..parameter import Parameter


class Front:
    """Plain integers in, numbers of the format out: int8 values times mult / 2**24.

    Args:
        model: the int8 model.
        last: the name of its last layer that is used.
        mult: the scale of that layer's values, times 2**24.
        f: the format of the numbers.
    """

    def __init__(self, f, model: Model, last: str, mult: int):
        self.f = f
        self.model = model
        self.last = last
        self.mult = mult

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = self.model(x.astype(np.int8))[self.last].astype(np.int64)
        return self.f.array(((y * self.mult + 128) >> 8) / 2**16)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return grad  # nothing before it trains

    def collect_params(self) -> list[Parameter]:
        return []
