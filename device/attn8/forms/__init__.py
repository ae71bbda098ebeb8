# Forms of kernels. A family of kernels (matmul, attention ...) comes in several forms, with the
# same functions and the same results to the bit. Module forms/FORM/FAMILY has these functions and
#   room(...)  -> the bytes of each buffer that they work in, in the order in which they take them
#   fits(...)  whether they are right for these shapes and constants, where they are not for all
#              that a public entry lets in, as viper is
# and package forms/FORM, of a form in machine code, has
#   BACKEND    what `backend` calls it
#   RANK       of two that fit that of higher rank is taken
#   CHIPS      where not all chips run it for which it compiles: what configid0() gives on those
#
# viper is on every board, and says what each function does. Machine code is there where
# `attn8 deploy` put it; nothing lists it: a folder with an __init__.mpy is such a form. It is taken
# once it has given the known answers of the family (see attn8.known).
from .. import memory

# Of each form the modules in machine code by family, None where there is none or its answers were
# wrong; under "" the forms that this chip runs, in the order in which they are taken
proven = {}


def __getattr__(name):
    # What chooses is imported when it is asked for, and forgotten once a model is loaded
    from ..choice import __dict__ as found  # type: ignore[attr-defined]

    if name not in found:
        raise AttributeError(name)  # which dir awaits
    return found[name]


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
