# Where a model's layers put what they compute: one block, at places that the host planned (see
# docs/architecture.md, "Memory"). Values that are never needed at the same time share it.
from . import checks, memory, signals
from .kernels.objects import later, view

ALIGNMENT = 16  # bytes: what a chip's heap gives, and vector instructions want


class Arena:
    # `size` bytes, which get their memory when what makes layers is gone (see placing.py). Each
    # layer's places are given out by `begin` and `take`, and are compared when all are known (see
    # there as well): a wrong file is refused, and never computes wrong numbers.

    def __init__(self, size):
        self.size = checks.between("arena", size, 1, (1 << 24) - 1)
        memory.require("arena", size)
        self.block = later(size)
        self._bytes = memoryview(self.block)
        self._offsets = None

    def begin(self, name, offsets):
        # Of the next layer: the offsets of its buffers, in the order in which it takes them
        self._name = name
        self._offsets = offsets
        self._taken = []

    def take(self, code, n, over=False, *times):
        # -> room for n values of this typecode, as a memoryview; see signals.make. times:
        # the first and the last of the layer's parts that need it, by default all.
        if type(self._offsets) is not list or len(self._taken) >= len(self._offsets):
            raise ValueError("%s.at: expected an offset for each buffer, got %s; quantize the "
                             "model again" % (self._name, self._offsets))
        start = self._offsets[len(self._taken)]
        end = start + n * signals.ITEMSIZES[code] if type(start) is int else 0
        if type(start) is not int or start < 0 or start % ALIGNMENT or end > self.size:
            raise ValueError("%s.at: expected multiples of %d within %d bytes, got %s; quantize "
                             "the model again" % (self._name, ALIGNMENT, self.size, start))
        self._taken.append((start, end, over) + times)
        return view(self._bytes[start:end], ord(code), start // signals.ITEMSIZES[code], n)

    def end(self):
        # The layer has all that it takes; -> its places
        offsets = self._offsets or ()
        if self._taken and len(self._taken) < len(offsets):
            raise ValueError("%s.at: expected %d offsets, got %d; quantize the model again"
                             % (self._name, len(self._taken), len(offsets)))
        return self._taken
