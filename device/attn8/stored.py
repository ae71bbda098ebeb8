# Tensors that stay in the file, of which parts are read as they are needed.
from . import forms, memory
from .kernels.cache import copy
from .kernels.objects import part, view
from .signals import ITEMSIZES


def open(path):
    # A file that is no file system's: "partition:LABEL"
    from .partition import File

    if not path.startswith("partition:"):
        raise ValueError("%s: no such file" % path)
    return File(path)


class Source:
    # A model's open file, and what parts of it are read through. rooms: how weights are read,
    # by their shape (see tiles.py)

    def __init__(self, path, file):
        self._path = path
        self.file = file
        self.views = [memoryview(b"") for _ in range(3)]
        self.rooms = {}
        self.memory = None  # the file's bytes, where it lies in memory, as those of a ROMFS do
        try:
            self.memory = memoryview(file)
        except TypeError:
            pass

    def read(self, out, start):
        # Fills out, a memoryview of bytes, with what begins at `start`; allocates nothing
        try:
            self.file.seek(start)
            if self.file.readinto(out) == len(out):
                return
        except OSError:
            pass
        self.lost()

    def lost(self):
        raise ValueError("%s: its weights cannot be read any more; load it again" % self._path)


class Stored:
    # n values of a typecode from byte `start` on

    def __init__(self, source, code, start, n):
        self.source = source
        self.start = start
        self._code = code
        self._n = n

    def __len__(self):
        return self._n

    def size(self):
        # -> its bytes
        return self._n * ITEMSIZES[self._code]

    def memory(self):
        # -> int8 where they lie, if the file lies in memory; else None
        found = self.source.memory
        return None if found is None else found[self.start : self.start + self._n]

    def read(self, out, first):
        # Fills out, a memoryview of bytes, with what begins `first` bytes behind
        self.source.read(out, self.start + first)

    def load(self, room=None, at=0):
        # -> all of them, as a view of `room` from byte `at` on, by default of new memory
        size = self.size()
        if room is None:
            memory.require("weights", size)
            room = bytearray(size)
        values = memoryview(room)[at : at + size]
        self.read(values, 0)
        return view(values, ord(self._code), at // ITEMSIZES[self._code], self._n)


class Weight(Stored):
    # That of a Linear (layers.dense): read and packed whenever it is needed, into memory that all
    # of them share

    def __init__(self, linear, *place):
        super().__init__(*place)
        self._linear = linear
        self._bias = linear.bias  # as the file has it: packing adds to it
        linear.mult, linear.shift = linear.mult or linear.bias, linear.shift or linear.bias
        linear.weight, linear.bias = self.source.views[:2]
        forms.weights.claim(((self._n + 3) & ~3) + 4 * linear.outputs)
        linear.stored = self

    def fetch(self):
        p = self._linear
        room, n = forms.weights.bytes, 4 * p.outputs
        p.weight = part(self.source.views[0], room, 0, self._n)
        p.bias = part(self.source.views[1], room, (self._n + 3) & ~3, n)
        self.read(p.weight, 0)
        copy(self._bias, 0, p.bias, 0, n)
        p.form.pack(p.weight, p.bias, p.inputs, p.outputs)
