# Tensors that stay in the file, of which parts are read as they are needed.
from . import forms
from .kernels.cache import copy
from .kernels.objects import part


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


class Weight:
    # That of a Linear (layers.dense): read and packed whenever it is needed, into memory that all
    # of them share

    def __init__(self, linear, source, start, n):
        self.source, self.start, self._n = source, start, n
        self._linear = linear
        self._bias = linear.bias  # as the file has it: packing adds to it
        linear.mult, linear.shift = linear.mult or linear.bias, linear.shift or linear.bias
        linear.weight, linear.bias = source.views[:2]
        forms.weights.claim(((n + 3) & ~3) + 4 * linear.outputs)
        linear.stored = self

    def fetch(self):
        p = self._linear
        room, n = forms.weights.bytes, 4 * p.outputs
        p.weight = part(self.source.views[0], room, 0, self._n)
        p.bias = part(self.source.views[1], room, (self._n + 3) & ~3, n)
        self.source.read(p.weight, self.start)
        copy(self._bias, 0, p.bias, 0, n)
        p.form.pack(p.weight, p.bias, p.inputs, p.outputs)
