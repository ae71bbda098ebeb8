# The tensors of a model's file, read as they are taken.
import gc
from array import array

from . import checks, memory
from .kernels.objects import view
from .signals import ITEMSIZES

SMALL = 256  # bytes that an array may take twice while it is made


class Tensors:
    # Those of a file by name, (typecode, shape, place, values) each until `pop` reads one: what is
    # taken in turn is not held twice. metadata: what the file has besides. stream: int8 weights of
    # so many bytes or more stay in the file, where that is not 0: `pop` gives them as Stored, and
    # the file is left open for them. Those of an int8 product do where kernels pack them in their
    # place. None: `keep` will say. listing: see find.Listing; build takes it away in the end.

    def __init__(self, path, stream=0):
        from .safetensors import begun, listed

        self._path = path
        self._stream = 0
        found = begun(path)
        self._file = found[0]
        self.metadata, self._size, self.listing = listed(path, found)
        if stream is not None:
            try:
                self.keep(stream)
            except MemoryError:
                self.close()
                raise
        self.source = None  # of what stays in the file, once there is any
        self.left = []
        self._later = []
        self.own = True  # whether the input has memory of its own, as `build` says
        self._shared = []

    def __contains__(self, name):
        return name in self.listing

    def __iter__(self):
        return iter(self.listing)

    def __getitem__(self, name):
        return self.listing[name]

    def keep(self, stream):
        # How much may stay in the file; nothing is read where what comes into memory has no room
        if not stream:
            memory.require(self._path, self._size)
        self._stream = stream

    def pop(self, name, default=None):
        if name not in self:
            return default
        found = self[name]
        if len(found) > 3 and name.endswith(".weight") and found[0] == "b":
            if self._stream <= found[3]:
                return self.stored(name)
        return self._read(name, *self.listing.take(name))

    def stored(self, name, default=None):
        # As `pop`, of a tensor of any type and size that may stay in the file
        if name not in self:
            return default
        found = self.listing.take(name)
        if len(found) > 3 and self._stream:
            from .tiles import Stored

            return Stored(self.open(), found[0], *found[2:])
        return self._read(name, *found)

    def open(self):
        if self.source is None:
            from .stored import Source

            self.source = Source(self._path, self._file)
        return self.source

    def same(self, name):
        # As `pop`: one that holds what another one did is that one
        values = self.pop(name)
        for found in self._shared:
            if found == values:
                return found
        self._shared.append(values)
        return values

    def leave(self, name, linear):
        # A Linear takes its weight when there is no more to make (see settle)
        self.left.append((linear,) + self.listing.take(name)[2:])

    def settle(self, model, advance):
        # Gives the model its memory, and reads and packs what was left; advance() is called before
        # each, where there is one
        try:
            self._claim()
            from .placing import place

            place(model, self.own)
            memory.forget("attn8.placing")
            del place
            while self.left:
                if advance:
                    advance()
                p, *found = self.left.pop()
                name = p.name + ".weight"
                n = p.inputs * p.outputs
                if len(found) > 1 and 0 < self._stream <= n and hasattr(p.form, "pack"):
                    from .stored import Weight

                    Weight(p, self.open(), *found)
                    continue
                memory.require(name, n)
                weight = checks.values(name, self._read(name, "b", None, *found), n, True)
                p.weight, p.bias, p.mult, p.shift = p.form.operands(
                    weight, p.bias, p.mult, p.shift, p.inputs, p.outputs
                )
            for tiles in self.source.rooms.values() if self.source else ():
                tiles.parts()
        except MemoryError as error:
            if not str(error).startswith("memory allocation"):
                raise
            gc.collect()
            raise MemoryError("%s needs memory in larger pieces than are free (%s; %d bytes are "
                              "free in all); take a smaller model, fewer tokens or reset the board"
                              % (self._path, error, gc.mem_free()))
        finally:
            self.close()

    def later(self, claim):
        # claim: called when there is no more to make. claim(True): it takes its memory in as few
        # pieces as it can; claim(False): in small ones; claim(None): it lets go what it took.
        self._later.append(claim)

    def _claim(self):
        # In small pieces all, where one finds none that is large enough
        try:
            for claim in self._later:
                claim(True)
        except MemoryError:
            for claim in self._later:
                claim(None)
            for claim in self._later:
                claim(False)

    def _read(self, name, code, shape, start, count=None):
        if count is None:  # what a layer left (see Entry.leave)
            return start
        size = count * ITEMSIZES[code]
        self._file.seek(start)
        if size <= SMALL:
            values = array(code, bytes(size))
            found = self._file.readinto(values)
        else:  # an array is made of its bytes, beside them
            room = bytearray(size)
            found = self._file.readinto(room)
            values = view(memoryview(room), ord(code), 0, count)
        if found != size:
            raise ValueError("%s: %s is cut off" % (self._path, name))
        return values

    def close(self):
        if not self._stream:
            self._file.close()
