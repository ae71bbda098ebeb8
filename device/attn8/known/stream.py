from array import array
from binascii import crc32

from . import numbers

ANSWER = 0xE3A3AEB9  # CRC of the results of `right`


def right(form):
    # Blocks and a rest of each; sums that leave int16; and results where the values were
    n, columns = 37, 11
    x = numbers("b", n, 91)
    wide, out = array("h", bytes(2 * n)), array("b", bytes(n))
    form.widen(x, 0, wide, n, 26000, 23)
    both = array("h", wide)
    form.add(both, 0, array("h", [258 * value for value in numbers("b", n, 37)]), both, n)
    form.add(wide, 0, wide, wide, n)
    form.narrow(wide, 0, out, n, 20000, 25)
    sums = array("i", [value * 5000001 for value in numbers("b", 3 * columns, 53)])
    mult = array("h", [20000 + j for j in range(columns)])
    shift = array("b", [27 + j for j in range(columns)])
    form.settle(sums, 0, sums, 3, columns, mult, shift)
    found = bytes(both) + bytes(wide) + bytes(out) + bytes(sums)[: 6 * columns]
    return crc32(found) == ANSWER
