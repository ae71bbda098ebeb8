"""GELU."""

from collections.abc import Iterator
from math import erf, pi, sqrt

import numpy as np

from ..schema import one_of
from .base import Example, Fields
from .lookup import LookupType


class Type(LookupType):
    """x * P(X < x) of each value, X being normal; or its approximation by a tanh, as torch has."""

    fields = {"approximate": one_of("none", "tanh")}

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        if entry["approximate"] == "tanh":
            below = 0.5 * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
        else:
            halves = np.asarray(x, np.float64) / sqrt(2)
            below = 0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(halves))
        return x * below

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        for variant in ("none", "tanh"):
            entry = {"type": self.name, "name": "y", "approximate": variant}
            yield self.example(entry, variant)
            yield self.wide_example(entry, f"{variant}, int16")


TYPE = Type()
