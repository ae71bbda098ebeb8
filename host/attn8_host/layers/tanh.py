"""Hyperbolic tangent."""

import numpy as np

from .base import Fields
from .lookup import LookupType


class Type(LookupType):
    """tanh(x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.tanh(x)
        return result


TYPE = Type()
