# Tensors that stay in the file, of which parts are read as they are needed.
from array import array

from . import forms, memory
from .kernels.cache import copy
from .kernels.objects import part

TILE = 5632  # bytes of a read, unless one row is longer: half of a matrix of 172 x 64


def open(path):
    # A file that is no file system's: "partition:LABEL"
    from .partition import File

    if not path.startswith("partition:"):
        raise ValueError("%s: no such file" % path)
    return File(path)


class Stored:
    # n int8 from `start` on in an open `file`. views: memoryviews that whoever reads parts may use.
    # memory: they themselves, where the file lies in memory, as those of a ROMFS do; else None

    def __init__(self, path, file, views, start, n):
        self._path = path
        self.file = file
        self.views = views
        self.start = start
        self._n = n
        self.memory = None
        try:
            self.memory = memoryview(file)[start : start + n]
        except TypeError:
            pass

    def __len__(self):
        return self._n

    def read(self, out, first):
        # Fills out, a memoryview, with what begins at `first`; allocates nothing
        try:
            self.file.seek(self.start + first)
            if self.file.readinto(out) == len(out):
                return
        except OSError:
            pass
        self.lost()

    def lost(self):
        raise ValueError("%s: its weights cannot be read any more; load it again" % self._path)

    def load(self):
        # -> all of it, as an array
        memory.require(self._path, self._n)
        out = array("b", bytes(self._n))
        self.read(memoryview(out), 0)
        return out


class Weight(Stored):
    # That of a Linear (layers.dense): read and packed whenever it is needed, into memory that all
    # of them share

    def __init__(self, linear, *place):
        super().__init__(*place)
        self._linear = linear
        self._bias = linear.bias  # as the file has it: packing adds to it
        linear.mult, linear.shift = linear.mult or linear.bias, linear.shift or linear.bias
        linear.weight, linear.bias = self.views[:2]
        forms.weights.claim(((self._n + 3) & ~3) + 4 * linear.outputs)
        linear.stored = self

    def fetch(self):
        p = self._linear
        room, n = forms.weights.bytes, 4 * p.outputs
        p.weight = part(self.views[0], room, 0, self._n)
        p.bias = part(self.views[1], room, (self._n + 3) & ~3, n)
        self.read(p.weight, 0)
        copy(self._bias, 0, p.bias, 0, n)
        p.form.pack(p.weight, p.bias, p.inputs, p.outputs)
