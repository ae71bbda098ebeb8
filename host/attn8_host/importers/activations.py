"""Which of layers.activation.FUNCTIONS a function of each value is, and its parameters."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..layers.activation import FUNCTIONS

Function = Callable[[np.ndarray], np.ndarray]
Scalar = Callable[[float], float]
Same = Callable[[np.ndarray, np.ndarray], bool]
FAR = 1e4  # where a function is all but its asymptote
PROBES = (-40, -9, -3.5, -1, -0.3, 0, 0.3, 1, 3.5, 9, 40)

# Of each parameter what it is where the function has it, from some of its values
PARAMETERS: Mapping[str, Mapping[str, Callable[[Scalar], float]]] = {
    "celu": {"alpha": lambda f: -f(-FAR)},
    "clip": {"low": lambda f: f(-FAR), "high": lambda f: f(FAR)},
    "elu": {"alpha": lambda f: -f(-FAR)},
    "hard_sigmoid": {"slope": lambda f: 16 * (f(1 / 16) - f(0)), "offset": lambda f: f(0)},
    "leaky_relu": {"slope": lambda f: -f(-1)},
    "quick_gelu": {"factor": lambda f: math.log(f(1) / (1 - f(1)))},
    "softplus": {"beta": lambda f: math.log(2) / f(0)},
}


def probed(function: Function, shape: tuple[int, ...]) -> np.ndarray:
    """Its results at PROBES."""
    return np.array([_at(function, shape, x) for x in PROBES])


def activation(function: Function, x: np.ndarray, out: np.ndarray, same: Same
               ) -> dict[str, Any] | None:
    """The fields of an entry that computes `out` from x, value by value.

    Args:
        function: of arrays of x's shape; out = function(x).
        same: whether two arrays are equal but for rounding.

    Returns:
        None: it is none of them.
    """
    whole = np.asarray(function(np.full(x.shape, x.flat[0])))
    if whole.shape != out.shape or not same(whole, np.full(x.shape, out.flat[0])):
        return None

    def at(value: float) -> float:
        return _at(function, x.shape, value)

    with np.errstate(all="ignore"):
        values = probed(function, x.shape)
    if not np.isfinite(values).all():
        return None
    for name, kind in FUNCTIONS.items():
        try:
            with np.errstate(all="ignore"):
                found = {key: _short(PARAMETERS[name][key](at)) for key in kind.parameters}
        except (ArithmeticError, ValueError):
            continue
        if all(kind.parameters[key].holds(value) for key, value in found.items()) and (
                same(values, kind.compute(np.array(PROBES, float), **found))
                and same(out, kind.compute(x, **found))):
            return {"function": name, **found}
    return None


def _at(function: Function, shape: tuple[int, ...], value: float) -> float:
    return float(np.asarray(function(np.full(shape, float(value)))).flat[0])


def _short(value: float) -> float:
    """Without what float32 and a difference leave of a short number."""
    return float(f"{value:.7g}")
