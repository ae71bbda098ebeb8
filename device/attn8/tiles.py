# Tensors that stay in the file, and how rows of weights of int16 products come from there (see
# dense16.py).
from . import forms, memory
from .kernels.objects import view
from .signals import ITEMSIZES

TILE = 6144  # bytes of a read, unless two rows are longer: half of 172 x 64 weights, with ratios


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


def tiles(weight, inputs, outputs, room, ahead):
    # -> the Tiles of a Stored weight
    shape = inputs, outputs, ahead
    made = weight.source.rooms
    if shape not in made:
        made[shape] = Tiles(weight.source, room, *shape)
    return made[shape]


class Tiles:
    # How weights of one shape are read, some rows at a time: into the scratch, behind what kernels
    # work in and the ratios of all outputs, if those come with the first rows. Who has the same
    # shape shares the views. made: what `parts` gave, right as long as `bytes` is the scratch;
    # mult, shift: of these ratios.

    bytes = bytearray()

    def __init__(self, source, room, inputs, outputs, ahead):
        self.source = source
        most = max(1, (TILE - ahead) // inputs)
        rows = -(-outputs // -(-outputs // most))
        self.rows = rows if outputs & 1 else rows + 1 & ~1  # of a tile; pairs stay together
        self._at = (room + ahead + 3) & ~3
        self._shape = inputs, outputs, ahead
        self.drop()
        forms.scratch.claim(self._at + self.rows * inputs)

    def parts(self):
        # -> of each tile its rows, the place in the weight to read from and where to, and then its
        # weights
        if self.bytes is not forms.scratch.bytes:
            self.bytes = forms.scratch.bytes
            self.made = self._make(memoryview(self.bytes))
        return self.made

    def drop(self):
        # Lets the scratch go, of which more may be claimed
        self.made = self.mult = self.shift = None
        self.bytes = Tiles.bytes

    def _make(self, room):
        inputs, outputs, ahead = self._shape
        at = self._at
        start, weight = at - ahead, room[at : at + self.rows * inputs]
        found = []
        for first in range(0, outputs, self.rows):
            n = min(self.rows, outputs - first)
            if n < self.rows:
                weight = room[at : at + n * inputs]
            found.append((n, first * inputs, weight, weight))
        if ahead:
            n = found[0][0]
            found[0] = n, -ahead, room[start : at + n * inputs], found[0][3]
            self.mult = view(room[start : start + 2 * outputs], ord("h"), start >> 1, outputs)
            self.shift = room[start + 2 * outputs : at]
        return found
