# Tensors that stay in the file, of which parts are read as they are needed.
from array import array

from . import memory
from .kernels.objects import part

TILE = 4096  # bytes of a read, unless one row is longer


class Stored:
    # n int8 from `start` on in an open file

    def __init__(self, path, file, start, n):
        self._path = path
        self._file = file
        self._start = start
        self._n = n

    def __len__(self):
        return self._n

    def read(self, out, first):
        # Fills out, a memoryview, with what begins at `first`; allocates nothing
        try:
            self._file.seek(self._start + first)
            if self._file.readinto(out) == len(out):
                return
        except OSError:
            pass
        raise ValueError("%s: its weights cannot be read any more; load it again" % self._path)

    def load(self):
        # -> all of it, as an array
        memory.require(self._path, self._n)
        out = array("b", bytes(self._n))
        self.read(memoryview(out), 0)
        return out


def rows_of(inputs, outputs):
    # -> how many rows of a matrix are read at a time
    return max(1, min(outputs, TILE // inputs))


class Tiles:
    # A matrix of int8 [outputs, inputs] in a file, some rows at a time in the memory of `buffer`
    # from byte `at` on, and what belongs to these rows

    def __init__(self, weight, inputs, outputs):
        self._weight = weight
        self.inputs, self.outputs = inputs, outputs
        self.rows = rows_of(inputs, outputs)
        self._views = [memoryview(b"") for _ in range(6)]

    def weights(self, buffer, at, first, n):
        view = part(self._views[0], buffer, at, n * self.inputs)
        self._weight.read(view, first * self.inputs)
        return view

    def beside(self, which, values, first, n, size):
        # n of `values`, of `size` bytes each; which: 1 to 5, of several that are used together
        return part(self._views[which], values, first * size, n * size)
