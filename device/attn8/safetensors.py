# Reads safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import os

from . import checks, memory

_types = {"I8": ("b", 1), "U8": ("B", 1), "I16": ("h", 2), "U16": ("H", 2), "I32": ("i", 4),
          "F32": ("f", 4), "F64": ("d", 8)}
MAX_HEADER = 32768


def open_file(path):
    # -> (file, bytes before the tensors' data, bytes of it, header)
    from .grammar import check, loads

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
    try:
        header = loads(file.read(length))
        size = check(header, _types, size - 8 - length, beyond)
    except ValueError as error:
        file.close()
        raise ValueError("%s: header: %s" % (path, error))
    return file, 8 + length, size, header


def metadata(path):
    file, _, _, header = open_file(path)
    file.close()
    return header.get("__metadata__", {})


def listed(path, tensors, stream):
    # Puts (typecode, shape, place, values) of each tensor into a dict -> the file, open. ValueError
    # where the file is not what it says
    file, data, size, header = open_file(path)
    try:
        if not stream:
            memory.require(path, size)
        shapes = []  # many tensors have the same
        for name in list(header):
            entry = memory.take(header, name)
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            code, itemsize = _types[entry["dtype"]]
            shape = entry["shape"]
            if shape not in shapes:
                shapes.append(shape)
            shape = shapes[shapes.index(shape)]
            tensors[name] = code, shape, data + start, (end - start) // itemsize
    except Exception:
        file.close()
        raise
    return file


def read(path):
    # -> {name: array}
    from .tensors import Tensors

    tensors = Tensors(path)
    try:
        return {name: tensors.pop(name) for name in list(tensors)}
    finally:
        tensors.close()
