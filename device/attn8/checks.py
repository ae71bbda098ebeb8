# What every public entry uses to refuse bad input before a kernel sees it. None allocates unless
# it raises.
from .kernels.objects import overlap, typecode

MAX_INPUTS = 4096  # of one dot product: 255*255*4096 and its offsets stay below 2**30
MAX_KEYS = 516  # 516 * 32768 * 127 is the largest sum of weighted values below 2**31


def values(what, x, length=None, writable=False, code="b"):
    # x is an array of this typecode, or a memoryview of one, of `length` values where that is
    # known; int8 may come as any form of bytes
    found = typecode(x)
    if (found & 127 != ord(code) and (found & 127 != 66 or code != "b")
            or writable and found < 128 or length is not None and len(x) != length):
        refuse("buffer", what, x, code, length, writable)
    return x


def apart(what, x, size, other, y, n):
    # The `size` bytes of x and the n of y have none in common
    if overlap(x, size, y, n):
        refuse("overlap", what, other)


def between(what, value, low, high):
    if not isinstance(value, int) or not low <= value <= high:
        refuse("number", what, value, low, high)
    return value


def kind(what, x, kinds):
    if not isinstance(x, kinds):
        refuse("kind", what, x, kinds)
    return x


def multiplier(what, mult, shift):
    # requant(a; M, s) is exact for 2**14 <= M < 2**15 and 16 <= s <= 45
    between(what + ".mult", mult, 1 << 14, (1 << 15) - 1)
    between(what + ".shift", shift, 16, 45)


def refuse(how, *values):
    # The lines are apart, in a module that most programs never load
    getattr(__import__("attn8." + "refuse", None, None, [how]), how)(*values)
