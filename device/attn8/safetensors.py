# Reads safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import os
from array import array

from . import checks

_types = {"I8": ("b", 1), "U8": ("B", 1), "I16": ("h", 2), "U16": ("H", 2), "I32": ("i", 4),
          "F32": ("f", 4), "F64": ("d", 8)}
MAX_HEADER = 32768


def begun(path):
    # -> (file, its size, whether more may lie behind its tensors, bytes of its header, which is
    # read next)
    checks.kind("path", path, str)
    beyond = False
    try:
        found = os.stat(path)
        if found[0] & 0x4000:
            raise ValueError("%s: a folder; expected a file in it" % path)
        size = found[6]
        file = open(path, "rb")
    except OSError:
        from .stored import open as opened

        file = opened(path)
        size = len(file)
        beyond = True
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        file.close()
        raise ValueError("%s: not a safetensors file, or its header is too long" % path)
    return file, size, beyond, length


def members(path, file, size, beyond, length):
    # Those of the header of a file that was begun, (name, value) in turn. ValueError where the file
    # is not what it says, which is closed then
    from .grammar import check, members

    try:
        text = bytearray(length)
        file.readinto(text)
        for member in check(members(text), _types, size - 8 - length, beyond):
            yield member
    except ValueError as error:
        file.close()
        raise ValueError("%s: header: %s" % (path, error))


def metadata(path):
    found = begun(path)
    said = {}
    for name, value in members(path, *found):
        if name == "__metadata__":
            said = value
    found[0].close()
    return said


def listed(path, found):
    # What the header of a file that was begun says -> its metadata, the bytes of all tensors, and
    # a Listing of these
    from .find import Listing

    metadata = {}
    size = 0
    names = [b""]
    places = array("I")
    kind = array("H")
    kinds = []  # many tensors have the same
    for name, entry in members(path, *found):
        if name == "__metadata__":
            metadata = entry
            continue
        start, end = entry["data_offsets"]
        what = _types[entry["dtype"]][0], entry["shape"]
        if what not in kinds:
            kinds.append(what)
        names.append(name.encode())
        places.append(8 + found[3] + start)
        kind.append(kinds.index(what))
        size = max(size, end)
    names.append(b"")
    return metadata, size, Listing(b"\0".join(names), places, kind, kinds)


def read(path):
    # -> {name: array}
    from .tensors import Tensors

    tensors = Tensors(path)
    try:
        return {name: tensors.pop(name) for name in list(tensors)}
    finally:
        tensors.close()
