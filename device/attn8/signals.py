# The formats in which layers give each other values: int8, and int16 along a residual stream.
from array import array

from . import checks
from .kernels.objects import same

ITEMSIZES = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "d": 8}
CODES = {"int8": "b", "int16": "h"}
BYTES = {"int8": 1, "int16": 2}
MOST = {"int8": 127, "int16": 32767}  # |x|


def make(code, n, over=False):
    # Room for n values of this typecode. A layer takes all that it computes into from a function
    # like this one, its result last; that of a model file is `entry.make`, which may give parts of
    # an arena. over: it may be where an input lies that nothing else needs.
    return array(code, bytes(n * ITEMSIZES[code]))


def accept(what, form, x, n, out, size):
    # x holds n values of this format, apart from the `size` bytes of `out`
    checks.values(what, x, n, False, CODES[form])
    checks.apart(what, x, n * BYTES[form], "out", out, size)


def accept_over(what, form, x, n, out):
    # x holds as many values of this format as `out`: apart from it, or the very same
    checks.values(what, x, n, False, CODES[form])
    if not same(x, out):
        checks.apart(what, x, n * BYTES[form], "out", out, n * BYTES[form])


def known(what, form):
    if form not in CODES:
        raise ValueError("%s: expected int8 or int16, got %s" % (what, form))
    return form
