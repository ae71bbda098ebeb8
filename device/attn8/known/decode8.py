from array import array
from binascii import crc32

from . import numbers

ANSWER = 0x85B9C9D9  # CRC of the results of `right`


def right(form):
    # Four heads of queries to two of keys and values, of 16 dimensions, over seven of nine slots
    keys, values = numbers("b", 288, 37), numbers("b", 288, 91)
    steps = bytearray([1 + (j * 53) % 255 for j in range(18)])
    q = array("h", [60 * value for value in numbers("b", 64, 53)])
    scores, out = array("i", range(28)), array("h", range(64))
    form.scores(q, 0, keys, steps, scores, 7, 4, 2, 16)
    found = bytes(scores)
    weights = array("i", [(j * 97) % 4001 for j in range(28)])
    sums = array("i", [sum(weights[7 * h : 7 * h + 7]) for h in range(4)])
    form.weighted(values, 0, steps, weights, sums, out, 7, 4, 2, 16, 1 << 29, 36)
    return crc32(found + bytes(out)) == ANSWER
