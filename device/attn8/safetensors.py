# Reads safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import json
import os
from array import array

from . import memory

_types = {"I8": ("b", 1), "U8": ("B", 1), "I16": ("h", 2), "U16": ("H", 2), "I32": ("i", 4),
          "F32": ("f", 4), "F64": ("d", 8)}
MAX_HEADER = 32768


def open_file(path):
    # -> (file, bytes before the tensors' data, bytes of it, header)
    try:
        size = os.stat(path)[6]
        file = open(path, "rb")
    except OSError:
        raise ValueError("%s: no such file" % path)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        file.close()
        raise ValueError("%s: not a safetensors file, or its header is too long" % path)
    try:
        header = json.loads(file.read(length))
    except ValueError:
        file.close()
        raise ValueError("%s: the header is not JSON" % path)
    return file, 8 + length, size - 8 - length, header


def metadata(path):
    file, _, _, header = open_file(path)
    file.close()
    return header.get("__metadata__", {})


def read(path, stream=0):
    # -> ({name: array}, {name: (typecode, shape)}); ValueError where the file is not what it says.
    # stream: int8 weights of so many bytes or more stay in the file, where that is not 0: they are
    # Stored, and the file is left open for them.
    file, data, size, header = open_file(path)
    try:
        if not stream:
            memory.require(path, size)
        header.pop("__metadata__", None)
        tensors = {}
        shapes = {}
        for name in list(header):
            entry = header.pop(name)
            shape = entry["shape"]
            start, end = entry["data_offsets"]
            code, itemsize = _types.get(entry["dtype"], (None, 0))
            if code is None:
                raise ValueError("%s: %s has dtype %s" % (path, name, entry["dtype"]))
            count = 1
            for n in shape:
                count *= n
            if end - start != count * itemsize or not 0 <= start <= end <= size:
                raise ValueError("%s: %s does not fit the file" % (path, name))
            shapes[name] = code, shape
            stays = stream and code == "b" and end - start >= stream and name.endswith(".weight")
            tensors[name] = _tensor(path, file, data + start, end - start, code, name, stays)
    finally:
        if not stream:
            file.close()
    return tensors, shapes


def _tensor(path, file, start, size, code, name, stays):
    if stays:
        from .stored import Stored

        return Stored(path, file, start, size)
    tensor = array(code, bytes(size))
    file.seek(start)
    if file.readinto(tensor) != size:
        raise ValueError("%s: %s is cut off" % (path, name))
    return tensor
