# The tensors of a model's file, read as they are taken.
from array import array

from . import checks, memory
from .kernels.objects import view
from .signals import ITEMSIZES

SMALL = 256  # bytes that an array may take twice while it is made


class Tensors(dict):
    # Those of a file by name, (typecode, shape, place, values) each until `pop` reads one: what is
    # taken in turn is not held twice. stream: int8 weights of so many bytes or more stay in the
    # file, where that is not 0: `pop` gives them as Stored, and the file is left open for them.
    # Those of an int8 product do where kernels pack them in their place.

    def __init__(self, path, stream=0):
        from .safetensors import listed

        super().__init__()
        self._path = path
        self._stream = stream
        self._views = [memoryview(b"") for _ in range(5 if stream else 0)]
        self._file = listed(path, self, stream)
        self.left = []

    def pop(self, name, default=None):
        if name not in self:
            return default
        found = memory.take(self, name)
        if len(found) > 3 and found[0] == "b" and 0 < self._stream <= found[3]:
            if name.endswith(".weight"):
                from .stored import Stored

                return Stored(self._path, self._file, self._views, *found[2:])
        return self._read(name, *found)

    def leave(self, name, linear):
        # A Linear takes its weight when there is no more to make (see settle)
        self.left.append((linear,) + memory.take(self, name)[2:])

    def settle(self, model, advance):
        # Gives the model its memory, and reads and packs what was left; advance() is called before
        # each, where there is one
        try:
            from .placing import place

            place(model)
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

                    Weight(p, self._path, self._file, self._views, *found)
                    continue
                memory.require(name, n)
                weight = checks.int8(name, self._read(name, "b", None, *found), n, True)
                p.weight, p.bias, p.mult, p.shift = p.form.operands(
                    weight, p.bias, p.mult, p.shift, p.inputs, p.outputs
                )
        finally:
            self.close()

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
