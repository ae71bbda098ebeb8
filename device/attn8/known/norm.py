from array import array
from binascii import crc32

from . import numbers

ANSWER = 0x3EB81C22  # CRC of the results of `right`


def right(form):
    # Rows of 37 values, of all sizes; shifted to both sides; one without a mean; and two that
    # start at words
    n = 37
    rows = [[value << up for value in numbers("b", n, 7 * up + 37)] for up in range(9)]
    x = array("h", [value + 5 for row in rows for value in row])
    weight = array("i", [value * 5000001 for value in numbers("b", n, 53)])
    bias = array("i", [value << 16 for value in numbers("b", n, 91)])
    found, out = array("i", bytes(12 * 9)), array("b", bytes(9 * n))
    form.norm(x, 0, found, weight, bias, out, 9, n, 1, 10, 0, 70000000, 20, 127)
    wide = array("h", bytes(2 * n))
    form.norm(x, 0, found, weight, bias, wide, 1, n, 0, 10, 3, 0, 13, 32767)
    words = array("b", bytes(2 * (n - 1)))
    form.norm(x, 0, found, weight, bias, words, 2, n - 1, 1, 10, 0, 70000000, 20, 127)
    return crc32(bytes(out) + bytes(wide) + bytes(words)) == ANSWER
