"""What a board prints in answer to a program: a literal, held to a shape before anyone believes it.

A shape is a type (`int`, `str`, `bytes`, `tuple`), a range that an int lies in, a compiled pattern
that a str matches as a whole, None, a tuple of shapes, [shape] for any number of them in a list, or
a set of shapes, one of which is met.
"""

import ast
import re
import warnings
from typing import Any

from ..errors import BoardError

LONGEST = 1 << 20  # characters
BYTES = range(1 << 40)  # how many of them something may take


def literal(text: str, shape: Any) -> Any:
    """The value that a board printed; parsed, and not evaluated.

    Raises:
        BoardError: it is no literal, or not of the shape.
    """
    if len(text) <= LONGEST:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Python's own syntax, in what is none
                value = ast.literal_eval(text.strip())
            if _fits(value, shape):
                return value
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            pass
    start = repr(text if len(text) <= 60 else text[:60] + "...")
    raise BoardError(
        f"the board answers with what is no answer, {start}; does its boot.py or main.py print? "
        "Hold them back (rename them), reset it and try again"
    )


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, set):
        return any(_fits(value, each) for each in shape)
    if isinstance(shape, tuple):
        return (isinstance(value, tuple) and len(value) == len(shape)
                and all(map(_fits, value, shape)))
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    return value is shape if shape is None else type(value) is shape
