"""The logistic function."""

import numpy as np

from .base import Fields
from .lookup import LookupType


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e**-x), for any x."""
    return 0.5 * (1 + np.tanh(0.5 * x))


class Type(LookupType):
    """1 / (1 + e**-x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        return sigmoid(x)


TYPE = Type()
