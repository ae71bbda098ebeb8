# What every public entry uses to refuse bad input before a kernel sees it. None allocates unless
# it raises, but for `words`, which is for construction time.
from array import array

MAX_INPUTS = 4096  # of one dot product: 255*255*4096 and its offsets stay below 2**30

_buffers = (array, bytearray, bytes, memoryview)


def int8(what, x, length):
    # A kernel may touch `length` bytes of x: wider elements only make x longer than it needs to be
    if not isinstance(x, _buffers):
        raise TypeError("%s: expected array('b'), got %s" % (what, type(x).__name__))
    if len(x) != length:
        raise ValueError("%s: expected %d int8 values, got %d" % (what, length, len(x)))
    return x


def writable(what, x):
    if isinstance(x, bytes):
        raise TypeError("%s: expected a writable array('b'), got bytes" % what)
    return x


def words(what, x, length, size):
    # x must hold `length` elements of `size` bytes
    if not isinstance(x, _buffers):
        raise TypeError("%s: expected an array, got %s" % (what, type(x).__name__))
    found = len(x) * len(bytes(x[:1]))  # a copy of all of it would take as much memory again
    if found != length * size:
        raise ValueError(
            "%s: expected %d values of %d bytes, got %d bytes" % (what, length, size, found)
        )
    return x


def between(what, value, low, high):
    if not low <= value <= high:
        raise ValueError("%s: expected %d to %d, got %s" % (what, low, high, value))
    return value


def multiplier(what, mult, shift):
    # requant(a; M, s) is exact for 2**14 <= M < 2**15 and 16 <= s <= 45
    between(what + ".mult", mult, 1 << 14, (1 << 15) - 1)
    between(what + ".shift", shift, 16, 45)


def shape(shapes, name, expected):
    # Of a tensor in a file
    if name not in shapes:
        raise ValueError("missing tensor " + name)
    if shapes[name] != expected:
        raise ValueError("%s: expected shape %s, got %s" % (name, expected, shapes[name]))
