# Forms of kernels. A family of kernels (matmul, attention ...) comes in several forms, with the
# same functions and the same results to the bit. Module forms/FORM/FAMILY has these functions and
#   room(...)  -> the bytes of each buffer that they work in, in the order in which they take them
#   fits(...)  whether they are right for these shapes and constants. viper has none: what a public
#              entry lets in, viper can do
# and package forms/FORM, of a form in machine code, has
#   BACKEND    what `backend` calls it
#   RANK       of two that fit that of higher rank is taken
#   fault()    what keeps this chip from running it, None if nothing does
#
# viper is on every board, and says what each function does. Machine code is there where
# `attn8 deploy` put it; nothing lists it: a folder with an __init__.mpy is such a form. It is taken
# once it has given the known answers of the family (see attn8.known).
from .. import memory

# Modules in machine code by name, None where there is none or its answers were wrong; under "" the
# forms that this chip runs, in the order in which they are taken
proven = {}


def __getattr__(name):
    # What chooses is imported when it is asked for, and forgotten once a model is loaded
    return getattr(__import__("attn8.choice", None, None, ["choice"]), name)


class Buffers:
    # What the functions of a form work in; `parts` are in the order of its room. Who takes the same
    # form in the same shape, and needs nothing kept, can share them. within: a memoryview of bytes
    # that are free while the functions run, where parts lie as far as there is room. most: so many
    # bytes of an `array` come before them, as the larger.

    def __init__(self, form, *sizes, within=None, most=0):
        self.form = form
        self.sizes = sizes
        self._within = within
        self._arrays = {}
        if most:
            self.array("i", most)
        self.parts = [self._room(size) or bytearray(size) for size in form.room(*sizes)]

    def _room(self, size):
        free = self._within
        if free is not None and 0 < size <= len(free):
            self._within = free[(size + 15) & ~15 :]
            return free[:size]
        return None

    def array(self, code, size, name=""):
        # Room of so many bytes for one of this typecode, the same for all who share and say the
        # same name
        key = code + name
        found = self._arrays.get(key)
        if found is None or len(found) != size:
            found = self._arrays[key] = self._room(size) or bytearray(size)
        return found


class Scratch:
    # What kernels work in that leave nothing there from one call to the next: all share it, at the
    # size that the largest of them needs

    def __init__(self):
        self.bytes = bytearray()

    def claim(self, size):
        if len(self.bytes) < size:
            self.bytes = bytearray()
            memory.require("scratch", size)
            self.bytes = bytearray(size)


scratch = Scratch()
weights = Scratch()  # for one that stays in a file, as long as its product runs
