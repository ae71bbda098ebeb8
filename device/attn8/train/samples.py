import os
from array import array
from binascii import crc32

from .. import checks
from ..signals import ITEMSIZES

SUM = 4  # bytes of a record behind its values and labels: the CRC-32 of both


class Samples:
    # Labelled inputs of a model in a file, which a board collects: len, append and [i]. A power cut
    # leaves all that were there; one that was under way is taken for none. The file begins with the
    # number of values of each, in three bytes, and the code, which is 0 in files of old; where
    # their labels are not one, 128 is added to it and two bytes with their number follow.
    # code: "b" of int8, "h" of token ids; those of what first layers make are their format's.
    # labels: 1, or one of each token of a model that gives tokens values of their own, or 0 of a
    # text, whose ids are labels of those before. What begins the file and appends to it is
    # forgotten while a model trains, see keeping.py.

    def __init__(self, path, size, code="b", labels=1):
        self.path = checks.kind("path", path, str)
        self.size = checks.between("size", size, 1, 1 << 22)
        if code not in ("b", "h", "i"):
            raise ValueError("code: expected b, h or i, got %s" % (code,))
        self.code = code
        self.labels = checks.between("labels", labels, 0, 32767)
        self._x = array(code, bytes(size * ITEMSIZES[code]))
        self._y = array("H" if labels == 1 else "h", bytes(2 * labels))
        self._sum = bytearray(SUM)
        self._first = 4 if labels == 1 else 6
        self._step = size * ITEMSIZES[code] + 2 * labels + SUM
        from .keeping import opened

        opened(self)
        self._count = max(0, os.stat(path)[6] - self._first) // self._step
        if self._count and not self._read(self._count - 1):
            self._count -= 1

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        # -> (an array that the next one overwrites, label); of several labels an array as well
        if not 0 <= checks.kind("sample", i, int) < self._count:
            raise IndexError("sample %d of %d" % (i, self._count))
        if not self._read(i):
            raise ValueError("%s: sample %d is damaged" % (self.path, i))
        if self.labels == 1:
            return self._x, self._y[0]
        return self._x, self._y if self.labels else None

    def append(self, x, label=None, length=None):
        # x: int8, such as what model.feed returns, or ids. label: a class, or a list with one of
        # each token, below 0 where it does not count; of a text None. length: of a model whose
        # inputs have lengths; it takes a place of `size`. A label that the model has no class for
        # is refused by what trains.
        from .keeping import append

        append(self, x, label, length)
        self._count += 1

    def clear(self):
        from .keeping import clear

        clear(self)
        self._count = 0

    def _read(self, i):
        # Whether a record is whole
        with open(self.path, "rb") as file:
            file.seek(self._first + i * self._step)
            file.readinto(self._x)
            file.readinto(self._y)
            if file.readinto(self._sum) != SUM:
                return False
        return crc32(self._y, crc32(self._x)) == int.from_bytes(self._sum, "little")
