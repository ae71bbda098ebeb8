# JSON as every reader of model files takes it: what MicroPython's own parser lets pass is refused,
# as commas and colons where they should not be.
import json
from array import array

from .kernels.grammar import count

DEEPEST = 32  # levels
TWICE = "a name comes twice in one object"


def loads(text):
    # JSON as bytes -> its value
    found = count(text, len(text), bytearray(DEEPEST), DEEPEST, b"", 0)
    if found < 0:
        raise ValueError("expected JSON")
    value = json.loads(text)
    if names(value) != found:
        raise ValueError(TWICE)
    return value


def split(text, opening=123):
    # JSON in a bytearray, an object or, with opening=91, a list -> how many names are in it, and
    # what gives the text of each member in turn, so that one is read without the others: that of an
    # object becomes one of its own where it stands
    n = len(text)
    for most in (n >> 4) + 16, (n >> 1) + 2:  # those of a model file take more than 16 bytes each
        places = array("H", bytes(2 * most))
        found = count(text, n, bytearray(DEEPEST), DEEPEST, places, most)
        if not places[most - 1]:
            break
    if found < 0:
        raise ValueError("expected JSON")
    at = first(text)
    if text[at] != opening:
        raise ValueError("expected an object")
    return found, _pieces(text, at, opening == 123, places)


def first(text):
    # -> the place of the first byte that is no space
    at = 0
    while text[at] <= 32:
        at += 1
    return at


def _pieces(text, at, named, places):
    view = memoryview(text)
    for end in places:
        if not end:
            return
        if named:
            text[at], text[end] = 123, 125
            yield view[at : end + 1]
        else:
            yield view[at + 1 : end]
        at = end


def members(text):
    # Those of JSON in a bytearray, an object: (name, value) in turn
    found, pieces = split(text)
    seen = set()
    for piece in pieces:
        value = json.loads(piece)
        found -= names(value)
        for name in value:
            if name in seen:
                raise ValueError(TWICE)
            seen.add(name)
            yield name, value[name]
    if found:
        raise ValueError(TWICE)


def names(value):
    found = 0
    if isinstance(value, dict):
        found = len(value)
        value = value.values()
    elif not isinstance(value, list):
        return 0
    for each in value:
        found += names(each)
    return found


def check(members, types, size, beyond=False):
    # members: (name, value) of the header of a safetensors file -> each in turn, once it says of
    # which of `size` bytes of tensors it is, of what type and shape; in the end that all of them
    # are one's. types: {dtype: (typecode, bytes)}. beyond: whether others may lie behind them, as
    # in a partition.
    spans = []
    for name, entry in members:
        if name == "__metadata__":
            for value in entry.values() if isinstance(entry, dict) else (entry,):
                if type(value) is not str:
                    raise ValueError("__metadata__: expected an object of words")
            yield name, entry
            continue
        if "\0" in name:
            raise ValueError("a tensor's name has a zero in it")
        try:
            dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            code, count = types[dtype]
            for n in shape:
                count *= n
            whole = True
            for n in shape + [start, end]:
                if type(n) is not int or n < 0:
                    whole = False
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole or len(entry) != 3 or end - start != count:
            raise ValueError("%s: expected dtype, shape and data_offsets that fit it, got %s"
                             % (name, entry))
        spans.append((start, end))
        yield name, entry
    spans.sort()
    at = 0
    for start, end in spans:
        if start != at:
            raise ValueError("data_offsets: expected %d, got %d" % (at, start))
        at = end
    if at > size or at < size and not beyond:
        raise ValueError("expected %d bytes of tensors, got %d" % (at, size))
