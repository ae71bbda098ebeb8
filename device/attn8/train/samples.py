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
    # text, whose ids are labels of those before.

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
        head = b""
        try:
            with open(path, "rb") as file:
                head = file.read(6)
        except OSError:
            pass
        if len(head) < 4 or len(head) < 6 and head[3] > 127:
            self.clear()
        else:
            self._accept("size", int.from_bytes(head[:3], "little"), size)
            if head[3] & 127:
                self._accept("code", chr(head[3] & 127), code)
            found = int.from_bytes(head[4:], "little") if head[3] > 127 else 1
            self._accept("labels", found, labels)
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
        if length is not None:
            most = 127 if self.code == "b" else 32767
            checks.values("x", x, self.size - 1, False, self.code)
            told = array(self.code, [checks.between("length", length, 1, most)])
            self._x[:] = array(self.code, x) + told
            x = self._x
        checks.values("x", x, self.size, False, self.code)
        y = self._y
        if self.labels == 1:
            y[0] = checks.between("label", label, 0, 65535)
        elif self.labels:
            if not isinstance(label, (list, tuple, array)) or len(label) != len(y):
                raise ValueError("label: expected a list of %d, one a token, got %s"
                                 % (len(y), label))
            for t in range(len(y)):
                y[t] = checks.between("label", label[t], -32768, 32767)
        elif label is not None:
            raise ValueError("label: expected none, as labels=0 said, got %s" % (label,))
        tail = crc32(y, crc32(x)).to_bytes(SUM, "little")
        try:
            with open(self.path, "r+b") as file:
                file.seek(self._first + self._count * self._step)
                file.write(x)
                file.write(y)
                file.write(tail)
        except OSError as error:
            self._fails(error)
        self._count += 1

    def clear(self):
        several = self.labels != 1
        try:
            with open(self.path, "wb") as file:
                file.write(self.size.to_bytes(3, "little"))
                file.write(bytes([ord(self.code) | several << 7]))
                if several:
                    file.write(self.labels.to_bytes(2, "little"))
        except OSError as error:
            self._fails(error)
        self._count = 0

    def _accept(self, what, found, given):
        if found != given:
            raise ValueError("%s: it holds samples of %s %s, got %s; take another file"
                             % (self.path, what, found, given))

    def _fails(self, error):
        raise ValueError("%s: it cannot be written: %s" % (self.path, error))

    def _read(self, i):
        # Whether a record is whole
        with open(self.path, "rb") as file:
            file.seek(self._first + i * self._step)
            file.readinto(self._x)
            file.readinto(self._y)
            if file.readinto(self._sum) != SUM:
                return False
        return crc32(self._y, crc32(self._x)) == int.from_bytes(self._sum, "little")
