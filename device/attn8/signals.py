# The formats in which layers give each other values: int8, and int16 along a residual stream.
from array import array

from . import checks

CODES = {"int8": "b", "int16": "h"}
MOST = {"int8": 127, "int16": 32767}  # |x|

_buffers = (array, memoryview)


def zeros(form, n):
    return array(CODES[form], bytes(n if form == "int8" else 2 * n))


def expect(what, form, x, n):
    # x holds n values of this format
    if form == "int8":
        return checks.int8(what, x, n)
    if not isinstance(x, _buffers):
        raise TypeError("%s: expected array('h'), got %s" % (what, type(x).__name__))
    if len(x) != n:
        raise ValueError("%s: expected %d int16 values, got %d" % (what, n, len(x)))
    return x


def known(what, form):
    if form not in CODES:
        raise ValueError("%s: expected int8 or int16, got %s" % (what, form))
    return form


def output(entry):
    # What an entry says that its layer gives
    return known(entry.name + ".output", entry.word("output", "int8"))


def follow(entry, given, size):
    # The layer takes `size` values of either format -> which one it is given
    form = given[0] if given[0] in CODES else "int8"
    entry.accept(given, form, size)
    return form
