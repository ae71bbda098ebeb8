"""What the fields and tensors of a config may be; whatever else is there is refused by name."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ModelError


@dataclass(frozen=True)
class Kind:
    """What a field holds: in words, and whether a value is one."""

    words: str
    holds: Callable[[Any], bool]


def one_of(*words: str) -> Kind:
    """One of some words."""
    return Kind(", ".join(words[:-1]) + f" or {words[-1]}", lambda value: value in words)


SIZE = Kind("a whole number from 1", lambda value: type(value) is int and value > 0)
COUNT = Kind("a whole number from 0", lambda value: type(value) is int and value >= 0)
INTEGER = Kind("a whole number", lambda value: type(value) is int)
INTEGERS = Kind("a list of whole numbers",
                lambda value: type(value) is list and all(map(INTEGER.holds, value)))
SHAPE = Kind("a list of whole numbers from 1",
             lambda value: type(value) is list and bool(value) and all(map(SIZE.holds, value)))
SCALE = Kind("a number above 0",
             lambda value: type(value) in (int, float) and 0 < value < math.inf)
WORD = Kind("a word", lambda value: type(value) is str and bool(value))
FLAG = Kind("true or false", lambda value: type(value) is bool)
NAMES = Kind("a list of layers' names",
             lambda value: type(value) is list and bool(value) and all(map(WORD.holds, value)))
LIST = Kind("a list", lambda value: type(value) is list)
OBJECT = Kind("an object", lambda value: type(value) is dict)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model file: its type, its shape (None: any length), whether it is needed, and
    the layer that it is named after, where that is another one than which takes it."""

    dtype: type
    shape: Sequence[int | None]
    needed: bool = True
    owner: str | None = None

    def check(self, name: str, found: np.ndarray) -> None:
        """Raises ModelError unless an array is one; where floats are meant, of any width."""
        shape = len(found.shape) == len(self.shape) and all(
            wanted in (None, length)
            for wanted, length in zip(self.shape, found.shape, strict=True)
        )
        floats = self.dtype is float
        if not shape or (found.dtype.kind != "f" if floats else found.dtype != self.dtype):
            what = "floats" if floats else np.dtype(self.dtype).name
            raise ModelError(f"{name}: expected {what} {_words(self.shape)}, got {found.dtype} "
                             f"{list(found.shape)}")


def _words(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if n is None else str(n) for n in shape)}]"


def check(
    where: str, given: Mapping[str, Any], needed: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
) -> None:
    """Raises ModelError unless an object has what is needed, and nothing unknown.

    Args:
        where: begins the error.
        given: the object.
        needed, optional: its fields.
    """
    known = {**needed, **(optional or {})}
    for key in needed:
        if key not in given:
            raise ModelError(f"{where}: the config lacks {key}")
    for key, value in given.items():
        if key not in known:
            raise ModelError(f"{where}: unknown field {key}; expected "
                             f"{', '.join(known) or 'none'}")
        if not known[key].holds(value):
            raise ModelError(f"{where}.{key}: expected {known[key].words}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value of a config as JSON, not too long."""
    try:
        return json.dumps(value)[:100]
    except (TypeError, ValueError, RecursionError):
        return f"{type(value).__name__}"
