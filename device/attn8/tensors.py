# The tensors of a model's file, read as they are taken.
from array import array

from . import memory
from .kernels.objects import view
from .signals import ITEMSIZES

SMALL = 256  # bytes that an array may take twice while it is made


class Tensors(dict):
    # Those of a file by name, (typecode, shape, place, values) each until `pop` reads one: what is
    # taken in turn is not held twice. stream: int8 weights of so many bytes or more stay in the
    # file, where that is not 0: `pop` gives them as Stored, and the file is left open for them.

    def __init__(self, path, stream=0):
        from .safetensors import listed

        super().__init__()
        self._path = path
        self._stream = stream
        self._views = [memoryview(b"") for _ in range(5 if stream else 0)]
        self._file = listed(path, self, stream)

    def pop(self, name, default=None):
        if name not in self:
            return default
        found = memory.take(self, name)
        if len(found) == 3:  # what a layer left (see Entry.leave)
            return found[2]
        code, _, start, count = found
        if code == "b" and 0 < self._stream <= count and name.endswith(".weight"):
            from .stored import Stored

            return Stored(self._path, self._file, self._views, start, count)
        size = count * ITEMSIZES[code]
        if size <= SMALL:
            return self._read(name, start, size, array(code, bytes(size)))
        # An array is made of its bytes, beside them
        room = self._read(name, start, size, bytearray(size))
        return view(memoryview(room), ord(code), 0, count)

    def _read(self, name, start, size, room):
        self._file.seek(start)
        if self._file.readinto(room) != size:
            raise ValueError("%s: %s is cut off" % (self._path, name))
        return room

    def close(self):
        if not self._stream:
            self._file.close()
