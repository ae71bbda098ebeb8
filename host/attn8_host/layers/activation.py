"""Functions of one value by name, besides those with a layer of their own."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import ModelError
from ..schema import Kind, number, one_of, within
from ..train import functions
from ..train.functions import UNIT
from .base import Example, Fields, Tensors
from .lookup import LookupType
from .sigmoid import sigmoid

NUMBER, ABOVE = number(-1e4, 1e4), number(1e-4, 1e4)


@dataclass(frozen=True)
class Function:
    """compute(x, **parameters), and the parameters that an entry has to say."""

    compute: Callable[..., Any]
    parameters: Mapping[str, Kind] = field(default_factory=dict)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Any, alpha: float) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# As torch.nn has them, but for "clip", which is Hardtanh and ReLU6, and "quick_gelu" of CLIP. The
# board knows these names as well.
FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(np.abs),
    "celu": Function(lambda x, alpha: np.where(
        x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)), {"alpha": ABOVE}),
    "clip": Function(lambda x, low, high: np.clip(x, low, high), {"low": NUMBER, "high": NUMBER}),
    "elu": Function(_elu, {"alpha": NUMBER}),
    "hard_sigmoid": Function(lambda x, slope, offset: np.clip(slope * x + offset, 0, 1),
                             {"slope": ABOVE, "offset": NUMBER}),
    "hard_swish": Function(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "leaky_relu": Function(lambda x, slope: np.where(x > 0, x, slope * x), {"slope": NUMBER}),
    "log_sigmoid": Function(lambda x: -_softplus(-x)),
    "mish": Function(lambda x: x * np.tanh(_softplus(x))),
    "quick_gelu": Function(lambda x, factor: x * sigmoid(factor * x), {"factor": ABOVE}),
    "selu": Function(lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772)),
    "softplus": Function(lambda x, beta: _softplus(beta * x) / beta, {"beta": ABOVE}),
    "softsign": Function(lambda x: x / (1 + np.abs(x))),
    "square": Function(np.square),
}
# Of the examples
PROVEN = {"alpha": 0.8, "low": -1, "high": 2.5, "slope": 0.125, "offset": 0.5, "factor": 1.702,
          "beta": 2}
PARAMETERS = {key: kind for each in FUNCTIONS.values() for key, kind in each.parameters.items()}


class Type(LookupType):
    """One of FUNCTIONS of each value; what an int8 file says of its parameters is for training, as
    its table has them."""

    fields = {"function": one_of(*FUNCTIONS)}
    optional = {**LookupType.optional, **PARAMETERS}
    training_optional: ClassVar[Mapping[str, Kind]] = dict.fromkeys(
        PARAMETERS, within(-10000 * UNIT, 10000 * UNIT))

    def check(self, entry: Fields) -> None:
        super().check(entry)
        self._check_parameters(entry)

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        own = FUNCTIONS[entry["function"]].parameters
        for key in sorted(own.keys() - entry.keys()):
            raise ModelError(f"{entry['name']}: the config lacks {key} of {entry['function']}")
        self._check_parameters({key: value / UNIT if key in PARAMETERS else value
                                for key, value in entry.items()})

    def _check_parameters(self, entry: Fields) -> None:
        name, own = entry["name"], FUNCTIONS[entry["function"]].parameters
        for key in entry.keys() & PARAMETERS.keys():
            if key not in own:
                raise ModelError(f"{name}: unknown field {key} of {entry['function']}; take it out "
                                 "of the config")
            if not own[key].holds(entry[key]):
                raise ModelError(f"{name}.{key}: expected {own[key].words}, got {entry[key]}")

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        kind = FUNCTIONS[entry["function"]]
        for key in kind.parameters:
            if key not in entry:
                raise ModelError(f"the config lacks {key} of {entry['function']}")
        result: np.ndarray = kind.compute(np.asarray(x, np.float64),
                                          **{key: entry[key] for key in kind.parameters})
        return result

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of each function, and one in int16."""
        for name, kind in FUNCTIONS.items():
            entry = {"type": self.name, "name": "y", "function": name,
                     **{key: PROVEN[key] for key in kind.parameters}}
            yield self.example(entry, name)
            if name == "leaky_relu":
                yield self.wide_example(entry, f"{name}, int16")

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        found = {key: entry[key] for key in ("type", "name", "function")}
        for key in FUNCTIONS[entry["function"]].parameters:
            if key not in entry:
                raise ModelError(f"{entry['name']}: its file says no {key} of {entry['function']}, "
                                 "and it trains by that; quantize the float model anew")
            found[key] = math.floor(entry[key] * UNIT + 0.5)
        return found, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> functions.Function:
        given = [entry[key] for key in FUNCTIONS[entry["function"]].parameters]
        return functions.KINDS[entry["function"]](f, *given)


TYPE = Type()
