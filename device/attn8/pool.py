# What layers for one token compute into: a buffer that nothing needs any more serves the next layer
# that takes one of its kind.
import gc

from . import signals


class Pool:
    # entries: the config's layers; what is wrong with them is refused elsewhere

    def __init__(self, entries):
        self._free = []  # (typecode, values, buffer)
        self._kept = {}  # results by layer
        self._last = {}  # of each layer, the place of the last one that takes its result
        before = "input"
        for i, entry in enumerate(entries):
            entry = entry if isinstance(entry, dict) else {}
            taken = entry.get("inputs", [before])
            for name in taken if isinstance(taken, list) else ():
                if isinstance(name, str):
                    self._last[name] = i
            before = str(entry.get("name"))
        self._at = -1

    def begin(self, name, offsets):
        # Of the next layer; offsets are those of a whole pass
        self._name = name
        self._made = []
        self._at += 1

    def take(self, code, n, over=False):
        for i, (kind, size, buffer) in enumerate(self._free):
            if kind == code and size == n:
                del self._free[i]
                break
        else:
            buffer = signals.make(code, n)
        self._made.append((code, n, buffer))
        return buffer

    def end(self, sources):
        # The layer has all that it takes; sources: the layers whose results it reads
        last = self._last
        if self._made:
            self._kept[self._name] = self._made.pop()
            self._free += self._made
        else:  # it gives what it takes
            last[sources[0]] = max(last[sources[0]], last.get(self._name, self._at))
        for name in [name for name in self._kept if last.get(name) == self._at]:
            self._free.append(self._kept.pop(name))

    def done(self, name):
        # Whether no layer to come takes the result of this one
        return self._last.get(name, -1) <= self._at


def room():
    # -> memory that is to be let go when what is needed for a while only has been made: what stays
    # then takes its place, in one piece, and leaves none behind that large blocks do not fit
    gc.collect()
    try:
        return bytearray(min(gc.mem_free() >> 2, 40 << 10))
    except MemoryError:  # it is in pieces already
        return None
