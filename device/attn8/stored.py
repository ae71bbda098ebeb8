# Tensors that stay in the file, of which parts are read as they are needed.
from array import array

from . import memory

TILE = 5632  # bytes of a read, unless one row is longer: half of a matrix of 172 x 64


def open(path):
    # A file that is no file system's: "partition:LABEL"
    from .partition import File

    if not path.startswith("partition:"):
        raise ValueError("%s: no such file" % path)
    return File(path)


class Stored:
    # n int8 from `start` on in an open file. views: memoryviews that whoever reads parts may use.
    # memory: they themselves, where the file lies in memory, as those of a ROMFS do; else None

    def __init__(self, path, file, views, start, n):
        self._path = path
        self._file = file
        self.views = views
        self._start = start
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

