from array import array
from binascii import crc32

from . import numbers

ANSWER = 0x2E7186E6  # CRC of the results of `right`


def right(form):
    # Blocks and a rest; both formats of products; results where the values were
    n = 37
    x, y = [array("h", [257 * value for value in numbers("b", n, step)]) for step in (37, 91)]
    out, narrow = array("h", bytes(2 * n)), array("b", bytes(n))
    form.multiply(x, 0, y, narrow, n, 20000, 37, 127)
    form.multiply(x, 0, y, out, n, 30000, 29, 8191)
    found = bytes(narrow) + bytes(out)
    form.interpolate(x, 0, array("h", [j * 7919 % 60001 - 30000 for j in range(513)]), x, n)
    form.relu(y, y, n)
    return crc32(found + bytes(x) + bytes(y)) == ANSWER
