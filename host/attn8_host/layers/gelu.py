"""GELU."""

from collections.abc import Iterator
from math import erf, pi, sqrt
from typing import Any

import numpy as np

from ..schema import one_of
from ..train.pointwise import Activation
from .base import Example, Fields, Tensors
from .lookup import LookupType


class TrainableGELU(Activation):
    """x * P(X < x), of the slope P(X < x) + x times the density."""

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self.f.normal(x))
        return result

    def slope(self) -> np.ndarray:
        f = self.f
        steep = f.multiply(self.x, f.density(self.x))
        result: np.ndarray = f.add(steep, f.normal(self.x))
        return result


class TrainableTanhGELU(Activation):
    """x * g, g = sigmoid(2u), 2u = x * (1.595769 + 0.0713548 * x**2), with x within +-8 in u."""

    def __init__(self, f: Any):
        super().__init__(f)
        self._linear = f.factor(856722024, 1 << 30)  # half of it
        self._cubic = f.factor(76616651, 1 << 30)
        self._slope = f.factor(229849952, 1 << 30)  # three times that

    def _cube(self, x: np.ndarray, factor: Any) -> np.ndarray:
        """x * (1.595769 + factor * x**2)."""
        f = self.f
        cubic = f.multiply(f.scale(f.multiply(x, x), factor), x)
        half = f.scale(x, self._linear)
        result: np.ndarray = f.add(f.add(half, half), cubic)
        return result

    def _gate(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.sigmoid(self._cube(self.f.within(x, 8), self._cubic))
        return result

    def function(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.f.multiply(x, self._gate(x))
        return result

    def slope(self) -> np.ndarray:
        f = self.f
        gate = self._gate(self.x)
        product = f.multiply(self._cube(f.within(self.x, 8), self._slope), gate)
        rest = f.subtract(product, f.multiply(product, gate))
        result: np.ndarray = f.add(rest, gate)
        return result


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

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> Activation:
        return (TrainableTanhGELU if entry["approximate"] == "tanh" else TrainableGELU)(f)


TYPE = Type()
