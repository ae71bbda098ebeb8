# Reads safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import os

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


def open_file(path):
    # -> (file, bytes before the tensors' data, bytes of the file, header)
    found = begun(path)
    return found[0], 8 + found[3], found[1], dict(members(path, *found))


def metadata(path):
    file, _, _, header = open_file(path)
    file.close()
    return header.get("__metadata__", {})


def listed(path, tensors, found):
    # Puts (typecode, shape, place, values) of each tensor of a file that was begun into a dict
    # -> its metadata, and the bytes of all
    metadata = {}
    size = 0
    shapes = []  # many tensors have the same
    for name, entry in members(path, *found):
        if name == "__metadata__":
            metadata = entry
            continue
        start, end = entry["data_offsets"]
        code, itemsize = _types[entry["dtype"]]
        shape = entry["shape"]
        if shape not in shapes:
            shapes.append(shape)
        shape = shapes[shapes.index(shape)]
        tensors[name] = code, shape, 8 + found[3] + start, (end - start) // itemsize
        size = max(size, end)
    return metadata, size


def read(path):
    # -> {name: array}
    from .tensors import Tensors

    tensors = Tensors(path)
    try:
        return {name: tensors.pop(name) for name in list(tensors)}
    finally:
        tensors.close()
