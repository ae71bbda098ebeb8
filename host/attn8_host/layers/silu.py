"""SiLU."""

import numpy as np

from .base import Fields
from .lookup import LookupType
from .sigmoid import sigmoid


class Type(LookupType):
    """x / (1 + e**-x) of each value."""

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = x * sigmoid(x)
        return result


TYPE = Type()
