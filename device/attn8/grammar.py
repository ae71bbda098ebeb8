# JSON as every reader of model files takes it: what MicroPython's own parser lets pass is refused,
# as commas and colons where they should not be.
import json
from array import array

import micropython

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


@micropython.viper
def count(text: ptr8, n: int, kinds: ptr8, deepest: int, places: ptr16, most: int) -> int:
    # How many members the objects of n bytes of JSON have; -1 where these are none: as RFC 8259 has
    # it, in UTF-8, nested `deepest` levels at most, without numbers of more than 32 characters,
    # integers of -0 and escaped surrogates. kinds: `deepest` bytes of room, the kind of each level.
    # places: `most` zeros, of which the first get where the members of the outermost level end
    found = 0
    outer = 0
    depth = 0
    at = 0
    # What may come: 0 a value, 1 that or "]", 2 a name, 3 that or "}", 4 ":", 5 "," or the end
    state = 0
    while at < n:
        c = text[at]
        at += 1
        if c == 32 or c == 10 or c == 13 or c == 9:
            pass
        elif state == 5:
            if depth == 0:
                return -1
            if depth == 1 and outer < most:
                places[outer] = at - 1
                outer += 1
            if c == 44:
                state = 2 if kinds[depth - 1] == 123 else 0
            elif c == kinds[depth - 1] + 2:
                depth -= 1
            else:
                return -1
        elif state == 4:
            if c != 58:
                return -1
            found += 1
            state = 0
        elif state == 3 and c == 125 or state == 1 and c == 93:
            depth -= 1
            state = 5
        elif c == 34:
            while True:
                if at >= n:
                    return -1
                c = text[at]
                at += 1
                if c < 32:
                    return -1
                if c == 34:
                    break
                more = 0  # bytes of the character
                low = 128
                high = 191
                if c == 92:
                    if at >= n:
                        return -1
                    c = text[at]
                    at += 1
                    if c == 117:
                        if at + 4 > n:
                            return -1
                        if text[at] | 32 == 100 and text[at + 1] >= 56:
                            return -1
                        i = 0
                        while i < 4:
                            c = text[at] | 32
                            if not (48 <= c and c <= 57 and text[at] & 32 or 97 <= c and c <= 102):
                                return -1
                            at += 1
                            i += 1
                    elif not (c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110
                              or c == 114 or c == 116):
                        return -1
                elif c >= 128:
                    if c < 194 or c > 244:
                        return -1
                    more = 1
                    if c >= 240:
                        more = 3
                    elif c >= 224:
                        more = 2
                    if c == 224:
                        low = 160
                    elif c == 237:
                        high = 159
                    elif c == 240:
                        low = 144
                    elif c == 244:
                        high = 143
                while more:
                    if at >= n or text[at] < low or text[at] > high:
                        return -1
                    low = 128
                    high = 191
                    at += 1
                    more -= 1
            state = 4 if state >= 2 else 5
        elif state >= 2:
            return -1
        elif c == 91 or c == 123:
            if depth == deepest:
                return -1
            kinds[depth] = c
            depth += 1
            state = 1 if c == 91 else 3
        elif c == 116 or c == 102 or c == 110:  # true, false, null: MicroPython reads them whole
            at += 4 if c == 102 else 3
            state = 5
        else:
            start = at
            whole = 1
            if c == 45:
                if at >= n:
                    return -1
                c = text[at]
                at += 1
                if c == 48:
                    whole = 2
            if c < 48 or c > 57:
                return -1
            if c != 48:
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if at < n and text[at] == 46:
                at += 1
                whole = 0
                if at >= n or text[at] < 48 or text[at] > 57:
                    return -1
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if at < n and text[at] | 32 == 101:
                at += 1
                whole = 0
                if at < n and (text[at] == 43 or text[at] == 45):
                    at += 1
                if at >= n or text[at] < 48 or text[at] > 57:
                    return -1
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if whole == 2 or at - start > 31:
                return -1
            state = 5
    if state != 5 or depth or at != n:
        return -1
    return found
