"""JSON as model files have it: what every reader, a board's among them, takes for the same value.

The device module of the same name holds its texts to the same: no member twice in an object, no
constant of JavaScript, nothing nested deeper than DEEPEST, no number longer than LONGEST, no -0 and
no escaped half of a surrogate pair, which MicroPython would take for a character.
"""

import json
import re
from typing import Any

DEEPEST = 32
LONGEST = 32  # characters of a number
_SURROGATE = re.compile(r"(?:^|[^\\])(?:\\\\)*\\u[dD][89a-fA-F]")


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or none that all readers agree on.
    """
    if isinstance(text, bytes):
        text = text.decode()
    if _SURROGATE.search(text):
        raise ValueError("an escaped surrogate; write the character itself")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole, parse_float=_real,
                           object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    if _depth(value) > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    return value


def _depth(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _whole(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0: write 0")
    return int(_short(digits))


def _real(digits: str) -> float:
    return float(_short(digits))


def _short(digits: str) -> str:
    if len(digits) > LONGEST:
        raise ValueError(f"a number of {len(digits)} characters; at most {LONGEST}")
    return digits


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a name comes twice in one object")
    return found
