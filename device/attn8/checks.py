# What every public entry uses to refuse bad input before a kernel sees it. None allocates unless
# it raises.
from .kernels.objects import overlap, typecode

MAX_INPUTS = 4096  # of one dot product: 255*255*4096 and its offsets stay below 2**30


def int8(what, x, length=None, writable=False):
    # x is array('b') or any form of bytes, of `length` values where that is known
    code = typecode(x)
    if code & 127 != 98 and code & 127 != 66:
        raise TypeError("%s: expected array('b'), got %s" % (what, _named(x)))
    if writable and code < 128:
        raise TypeError("%s: expected a writable array('b'), got %s" % (what, _named(x)))
    if length is not None and len(x) != length:
        raise ValueError("%s: expected %d int8 values, got %d" % (what, length, len(x)))
    return x


def values(what, x, code, length=None, writable=False):
    # x is an array, or a memoryview of one, of this typecode
    found = typecode(x)
    if found & 127 != ord(code):
        raise TypeError("%s: expected array('%s'), got %s" % (what, code, _named(x)))
    if writable and found < 128:
        raise TypeError("%s: expected a writable array('%s'), got %s" % (what, code, _named(x)))
    if length is not None and len(x) != length:
        raise ValueError("%s: expected %d values, got %d" % (what, length, len(x)))
    return x


def apart(what, x, size, other, y, other_size):
    # The `size` bytes of x and the `other_size` of y have none in common
    if overlap(x, size, y, other_size):
        raise ValueError("%s: expected memory apart from %s" % (what, other))


def operands(q, k, v, out, size, keys_size, apart=True):
    # Of an attention core. Where a kernel may read a row after another was written, out lies apart
    int8("q", q, size)
    int8("k", k, keys_size)
    int8("v", v, keys_size)
    int8("out", out, size, True)
    if apart and (overlap(out, size, q, size) or overlap(out, size, k, keys_size)
                  or overlap(out, size, v, keys_size)):
        raise ValueError("out: expected memory apart from q, k and v")


def shared(buffers, kind, *sizes):
    # The buffers of another core, which are of one kind and made for the same sizes, or new ones
    if buffers is None:
        buffers = kind(*sizes)
        buffers.sizes = sizes
    elif type(buffers) is not kind or buffers.sizes != sizes:
        raise ValueError("buffers: expected those of a core of the same kind and shape")
    return buffers


def between(what, value, low, high):
    if not isinstance(value, int):
        raise TypeError("%s: expected a whole number, got %s" % (what, type(value).__name__))
    if not low <= value <= high:
        raise ValueError("%s: expected %d to %d, got %s" % (what, low, high, value))
    return value


def number(what, value, low, high):
    # Of any kind, and not NaN
    if not isinstance(value, (int, float)):
        raise TypeError("%s: expected a number, got %s" % (what, type(value).__name__))
    if not low <= value <= high:
        raise ValueError("%s: expected %s to %s, got %s" % (what, low, high, value))
    return value


def kind(what, x, *kinds):
    if not isinstance(x, kinds):
        raise TypeError("%s: expected %s, got %s" % (what, kinds[0].__name__, type(x).__name__))
    return x


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


def _named(x):
    # Of an array with its typecode, which is what is wrong with it
    code = typecode(x) & 127
    name = type(x).__name__
    return "%s of '%s'" % (name, chr(code)) if code and name != "bytes" else name
