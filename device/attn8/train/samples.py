import os
from array import array
from binascii import crc32

from .. import checks
from ..signals import ITEMSIZES

TAIL = 6  # bytes of a record behind its values: the label, and the CRC-32 of both


class Samples:
    # Labelled inputs of a model in a file, which a board collects: len, append and [i]. A power cut
    # leaves all that were there; one that was under way is taken for none. The file begins with the
    # number of values of each, in four bytes. code: "b" of int8, "h" of token ids.

    def __init__(self, path, size, code="b"):
        self.path = path
        self.size = checks.between("size", size, 1, 1 << 22)
        if code not in ("b", "h"):
            raise ValueError("code: expected b or h, got %s" % code)
        self.code = code
        self._x = array(code, bytes(size * ITEMSIZES[code]))
        self._step = size * ITEMSIZES[code] + TAIL
        self._tail = bytearray(TAIL)
        head = b""
        try:
            with open(path, "rb") as file:
                head = file.read(4)
        except OSError:
            pass
        if len(head) < 4:
            self.clear()
        elif int.from_bytes(head, "little") != size:
            raise ValueError("%s: it holds samples of %d values, got %d"
                             % (path, int.from_bytes(head, "little"), size))
        self._count = (os.stat(path)[6] - 4) // self._step
        if self._count and not self._read(self._count - 1):
            self._count -= 1

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        # -> (an array that the next one overwrites, label)
        if not 0 <= i < self._count:
            raise IndexError("sample %d of %d" % (i, self._count))
        if not self._read(i):
            raise ValueError("%s: sample %d is damaged" % (self.path, i))
        return self._x, int.from_bytes(self._tail[:2], "little")

    def append(self, x, label, length=None):
        # x: int8, such as what model.feed returns, or ids. length: of a model whose inputs have
        # lengths; it takes a place of `size`. A label that the model has no class for is refused by
        # what trains.
        if length is not None:
            most = 127 if self.code == "b" else 32767
            told = array(self.code, [checks.between("length", length, 1, most)])
            self._x[:] = array(self.code, x) + told
            x = self._x
        checks.values("x", x, self.size, False, self.code)
        tail = checks.between("label", label, 0, 65535).to_bytes(2, "little")
        tail += crc32(tail, crc32(x)).to_bytes(4, "little")
        with open(self.path, "r+b") as file:
            file.seek(4 + self._count * self._step)
            file.write(x)
            file.write(tail)
        self._count += 1

    def clear(self):
        with open(self.path, "wb") as file:
            file.write(self.size.to_bytes(4, "little"))
        self._count = 0

    def _read(self, i):
        # Whether a record is whole
        with open(self.path, "rb") as file:
            file.seek(4 + i * self._step)
            file.readinto(self._x)
            if file.readinto(self._tail) != TAIL:
                return False
        tail = self._tail
        return crc32(tail[:2], crc32(self._x)) == int.from_bytes(tail[2:], "little")
