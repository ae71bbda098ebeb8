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


def number(low: float, high: float) -> Kind:
    """A number, whole or not."""
    return Kind(f"a number from {low:g} to {high:g}",
                lambda value: type(value) in (int, float) and low <= value <= high)


def one_of(*words: str) -> Kind:
    """One of some words."""
    return Kind(", ".join(words[:-1]) + f" or {words[-1]}", lambda value: value in words)


def within(low: int, high: int) -> Kind:
    """A whole number."""
    return Kind(f"a whole number from {low} to {high}",
                lambda value: type(value) is int and low <= value <= high)


MOST = 1 << 15  # of a size, and of the values of an input
# requant(a; M, s) is exact within these (docs/numerics.md)
MULTS, SHIFTS = (1 << 14, (1 << 15) - 1), (16, 45)

MAX_INPUTS = 4096  # of one dot product

SIZE = within(1, MOST)
INPUTS = within(1, MAX_INPUTS)
COUNT = within(0, MOST)
MULT, SHIFT = within(*MULTS), within(*SHIFTS)
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
NUMBERS = Kind("a list of numbers",
               lambda value: type(value) is list and all(type(n) in (int, float) for n in value))
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
            remedy = ("; attn8 quantize makes an int8 model of floats"
                      if found.dtype.kind == "f" and not floats else "")
            raise ModelError(f"{name}: expected {what} {_words(self.shape)}, got {found.dtype} "
                             f"{list(found.shape)}{remedy}")


def require(name: str, found: np.ndarray, low: int, high: int) -> None:
    """Raises ModelError unless all values of a tensor are from low to high."""
    if found.size and not low <= found.min() <= found.max() <= high:
        raise ModelError(f"{name}: expected {low} to {high}, got {found.min()} to {found.max()}")


def between(what: str, value: int, low: int, high: int) -> None:
    """Raises ValueError unless a constant is from low to high, TypeError unless it is whole."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what}: expected a whole number, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{what}: expected {low} to {high}, got {value}")


def whole(what: str, given: Any, size: int | None = None) -> np.ndarray:
    """An array of whole numbers, of `size` or else of one at least.

    Raises:
        TypeError: these are none.
        ValueError: they are not as many.
    """
    try:
        found = np.asarray(given)
    except ValueError:  # lists of several lengths
        found = np.asarray(None)
    if found.size and found.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected whole numbers, got {type(given).__name__}"
                        f"{f' of {found.dtype}' if found.dtype.kind in 'bf' else ''}")
    if found.size != size if size else not found.size:
        raise ValueError(f"{what}: expected {size or 'one or more'} whole numbers, got "
                         f"{found.size}")
    return found


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
