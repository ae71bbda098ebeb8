# Reads safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import json
import os

from . import memory
from .kernels.objects import view
from .signals import ITEMSIZES

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


class Tensors(dict):
    # Those of a file by name, (typecode, shape, place) each until `pop` reads one: what is taken
    # in turn is not held twice. ValueError where the file is not what it says. stream: int8 weights
    # of so many bytes or more stay in the file, where that is not 0: `pop` gives them as Stored,
    # and the file is left open for them.

    def __init__(self, path, stream=0):
        super().__init__()
        self._path = path
        self._stream = stream
        self._file, data, size, header = open_file(path)
        try:
            self._list(path, data, size, header)
        except Exception:
            self._file.close()
            raise

    def _list(self, path, data, size, header):
        if not self._stream:
            memory.require(path, size)
        for name in list(header):
            entry = memory.take(header, name)
            if name == "__metadata__":
                continue
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
            self[name] = code, shape, data + start, count

    def pop(self, name, default=None):
        if name not in self:
            return default
        found = memory.take(self, name)
        if len(found) == 3:  # what a layer left (see Entry.leave)
            return found[2]
        code, _, start, count = found
        if code == "b" and 0 < self._stream <= count and name.endswith(".weight"):
            from .stored import Stored

            return Stored(self._path, self._file, start, count)
        room = bytearray(count * ITEMSIZES[code])  # an array is made of its bytes, beside them
        self._file.seek(start)
        if self._file.readinto(room) != len(room):
            raise ValueError("%s: %s is cut off" % (self._path, name))
        return view(memoryview(room), ord(code), 0, count)

    def close(self):
        if not self._stream:
            self._file.close()


def read(path):
    # -> {name: array}
    tensors = Tensors(path)
    try:
        return {name: tensors.pop(name) for name in list(tensors)}
    finally:
        tensors.close()
