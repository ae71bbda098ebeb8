# Where a model's layers put what they compute: one block, at places that the host planned (see
# docs/architecture.md, "Memory"). Values that are never needed at the same time share it.
from . import checks, memory, signals
from .kernels.objects import later, view

ALIGNMENT = 16  # bytes: what a chip's heap gives, and vector instructions want


class Arena:
    # `size` bytes, which get their memory when what makes layers is gone (see placing.py). Each
    # layer's places are given out by `begin` and `take`, and are compared when all are known: a
    # wrong file is refused, and never computes wrong numbers.

    def __init__(self, size):
        self.size = checks.between("arena", size, 1, (1 << 24) - 1)
        memory.require("arena", size)
        self.block = later(size)
        self._bytes = memoryview(self.block)
        self._places = []  # of each step, (start, end, may it lie where an input lies) each
        self._offsets = None

    def begin(self, name, offsets):
        # Of the next layer: the offsets of its buffers, in the order in which it takes them
        self._name = name
        self._offsets = offsets
        self._taken = []

    def take(self, code, n, over=False):
        # -> room for n values of this typecode, as a memoryview; see signals.make
        if type(self._offsets) is not list or len(self._taken) >= len(self._offsets):
            raise ValueError("%s.at: expected an offset for each buffer, got %s; quantize the "
                             "model again" % (self._name, self._offsets))
        start = self._offsets[len(self._taken)]
        end = start + n * signals.ITEMSIZES[code] if type(start) is int else 0
        if type(start) is not int or start < 0 or start % ALIGNMENT or end > self.size:
            raise ValueError("%s.at: expected multiples of %d within %d bytes, got %s; quantize "
                             "the model again" % (self._name, ALIGNMENT, self.size, start))
        self._taken.append((start, end, over))
        return view(self._bytes[start:end], ord(code), start // signals.ITEMSIZES[code], n)

    def end(self):
        # The layer has all that it takes; -> its places
        offsets = self._offsets or ()
        if self._taken and len(self._taken) < len(offsets):
            raise ValueError("%s.at: expected %d offsets, got %d; quantize the model again"
                             % (self._name, len(self._taken), len(offsets)))
        return self._taken


def check(steps, places, names):
    # steps: (layer, values that it takes) each; value 0 is the input, and value i + 1 what step i
    # makes, at its last place. places: of each step. A value is needed until the last step
    # that takes it, one that none takes until the end; the other places while their step runs.
    last = [len(steps)] * (len(steps) + 1)
    for i, (_, values) in enumerate(steps):
        for value in values:
            last[value] = i
    for i, own in enumerate(places):
        for j, place in enumerate(own):
            for other in own[:j]:
                if _meet(place, other):
                    _refuse(names[i], names[i])
            for k in range(i):
                if not places[k] or last[k + 1] < i:
                    continue
                held = places[k][-1]
                if _meet(place, held) and not (
                    place[2] and last[k + 1] == i and place[:2] == held[:2]
                ):
                    _refuse(names[i], names[k])


def _meet(a, b):
    return a[0] < b[1] and b[0] < a[1]


def _refuse(name, other):
    raise ValueError("%s.at: its memory is still that of %s; quantize the model again"
                     % (name, other))
