from array import array
from binascii import crc32

from .. import tables
from . import numbers

ANSWER = 0x70C9DA07  # CRC of the results of `right`


def right(form):
    # Two rows of 19, in Q16.16 and Q24.8: scores beyond the limit, differences that saturate
    n, found = 19, b""
    for up, limit, mult, shift in ((0, 800000, 23630, 15), (8, 3000, 20000, 16)):
        scores = array("i", [value << 12 - up for value in numbers("b", 2 * n, 37)])
        d = array("i", [value * 8000001 for value in numbers("b", 2 * n, 91)])
        out, count = array("i", bytes(8 * n + 4)), array("i", [0])
        total = form.softmax(scores, 0, out, 1, tables.EXP2, 2, n, mult, shift, up, limit)
        form.softmax_backward(out, 0, 1, d, 2, n, up, mult, shift, (1 << 30) - 1, count)
        found += bytes(out) + bytes(d) + bytes(count) + bytes(array("i", [total]))
    return crc32(found) == ANSWER
