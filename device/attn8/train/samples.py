import os
from array import array
from binascii import crc32

from .. import checks
from ..signals import ITEMSIZES

TAIL = 6  # bytes of a record behind its values: the label, and the CRC-32 of both


class Samples:
    # Labelled inputs of a model in a file, which a board collects: len, append and [i]. A power cut
    # leaves all that were there; one that was under way is taken for none. The file begins with the
    # number of values of each, in three bytes, and the code, which is 0 in files of old. code: "b"
    # of int8, "h" of token ids; those of what first layers make are their format's.

    def __init__(self, path, size, code="b"):
        self.path = checks.kind("path", path, str)
        self.size = checks.between("size", size, 1, 1 << 22)
        if code not in ("b", "h", "i"):
            raise ValueError("code: expected b, h or i, got %s" % (code,))
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
        else:
            found = int.from_bytes(head[:3], "little")
            if found != size:
                raise ValueError("%s: it holds samples of %d values, got %d" % (path, found, size))
            if head[3] and head[3] != ord(code):
                raise ValueError("%s: it holds samples of code %s, got %s; take another file"
                                 % (path, chr(head[3]), code))
        self._count = (os.stat(path)[6] - 4) // self._step
        if self._count and not self._read(self._count - 1):
            self._count -= 1

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        # -> (an array that the next one overwrites, label)
        if not 0 <= checks.kind("sample", i, int) < self._count:
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
            checks.values("x", x, self.size - 1, False, self.code)
            told = array(self.code, [checks.between("length", length, 1, most)])
            self._x[:] = array(self.code, x) + told
            x = self._x
        checks.values("x", x, self.size, False, self.code)
        tail = checks.between("label", label, 0, 65535).to_bytes(2, "little")
        tail += crc32(tail, crc32(x)).to_bytes(4, "little")
        try:
            with open(self.path, "r+b") as file:
                file.seek(4 + self._count * self._step)
                file.write(x)
                file.write(tail)
        except OSError as error:
            self._fails(error)
        self._count += 1

    def clear(self):
        try:
            with open(self.path, "wb") as file:
                file.write(self.size.to_bytes(3, "little"))
                file.write(self.code)
        except OSError as error:
            self._fails(error)
        self._count = 0

    def _fails(self, error):
        raise ValueError("%s: it cannot be written: %s" % (self.path, error))

    def _read(self, i):
        # Whether a record is whole
        with open(self.path, "rb") as file:
            file.seek(4 + i * self._step)
            file.readinto(self._x)
            if file.readinto(self._tail) != TAIL:
                return False
        tail = self._tail
        return crc32(tail[:2], crc32(self._x)) == int.from_bytes(tail[2:], "little")
