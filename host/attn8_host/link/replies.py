"""What the board's server sends, held to what it can be before anyone believes it.

All functions raise LinkError where a payload is none that a server of attn8 sends.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LinkError, RemoteError
from .protocol import ERRORS

REGION = 1 << 24  # bytes that the place of a READ can reach in a region
OUTPUTS = 4096  # tensors of a model
LAYERS = 512  # that a board may say it works on
NAME = 200  # characters

DTYPES: dict[str, np.dtype] = {
    "b": np.dtype("<i1"), "h": np.dtype("<i2"), "H": np.dtype("<u2"), "i": np.dtype("<i4"),
    "f": np.dtype("<f4"), "d": np.dtype("<f8"),
}  # fmt: skip


@dataclass
class Output:
    """One tensor that the board computes: its name, type and number of values."""

    name: str
    dtype: np.dtype
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass
class Description:
    """The model that the board has loaded."""

    name: str
    input_size: int  # values
    input_dtype: np.dtype
    outputs: list[Output]
    ends: list[int]  # how many outputs there are once each layer ran, where layers share memory


def words(payload: bytes, count: int) -> tuple[int, ...]:
    """A payload of so many 32-bit words."""
    if len(payload) != 4 * count:
        raise _wrong(f"{len(payload)} bytes where {4 * count} belong")
    return struct.unpack(f"<{count}I", payload)


def length(payload: bytes) -> int:
    """How many bytes of a region there are to read."""
    size = words(payload, 1)[0]
    if not 0 < size < REGION:
        raise _wrong(f"a text of {size} bytes")
    return size


def part(payload: bytes) -> tuple[int, bytes]:
    """A frame of a READ: the place of its data, and the data."""
    if len(payload) <= 4:
        raise _wrong("a part of a tensor without data")
    return struct.unpack_from("<I", payload)[0], payload[4:]


def description(text: bytes) -> Description:
    """The description of a model that LOAD leaves, a JSON text."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong("a description of the model that is no JSON") from None
    if not isinstance(said, dict) or set(said) - {"ends"} != {"name", "input", "code", "outputs"}:
        raise _wrong("a description of the model without its name, input, code and outputs")
    name, size, listed = said["name"], said["input"], said["outputs"]
    if not _is_name(name) or not _is_size(size):
        raise _wrong("a model without a name or an input")
    if said["code"] not in ("b", "h"):
        raise _wrong("an input that is neither int8 nor int16")
    if not isinstance(listed, list) or not 0 < len(listed) <= OUTPUTS:
        raise _wrong("a model without outputs, or with too many")
    outputs = [_output(each) for each in listed]
    if len({output.name for output in outputs}) != len(outputs):
        raise _wrong("two outputs of one name")
    if sum(o.nbytes + 4 for o in outputs) >= REGION:
        raise _wrong("outputs larger than a region")
    ends = said.get("ends", [])
    if not isinstance(ends, list) or not all(type(end) is int for end in ends):
        raise _wrong("layers' ends that are no whole numbers")
    if ends and not (ends[0] >= 0 and ends == sorted(ends) and ends[-1] == len(outputs)):
        raise _wrong("layers' ends that do not lead to the last output")
    return Description(name, size, DTYPES[said["code"]], outputs, ends)


def refusal(payload: bytes) -> RemoteError:
    """The error that the payload of an ERROR tells of."""
    code = payload[0] if payload else 0
    kind = ERRORS[code if code < len(ERRORS) else 0]
    text = payload[1:].decode("utf-8", "replace")
    return RemoteError(f"out of memory: {text}" if kind == "MemoryError" else text, kind)


def _output(said: Any) -> Output:
    if isinstance(said, list) and len(said) == 3:
        name, code, size = said
        if _is_name(name) and isinstance(code, str) and code in DTYPES and _is_size(size):
            return Output(name, DTYPES[code], size)
    raise _wrong("an output that is not a name, a type and a size")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < REGION


def _wrong(what: str) -> LinkError:
    return LinkError(f"the board's server sends {what}; deploy again and reset the board")
