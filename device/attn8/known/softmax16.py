from array import array
from binascii import crc32

from .. import tables

ANSWER = 0xA096DB20  # CRC of the results of `right`


def right(form):
    # Three heads: scores of all octaves, alike, and far from each other
    n = 37
    scores = array("i", [(j * 7919) % 4001 * 30 for j in range(n)] + [-5] * n
                   + [(1 << 28) * (1 - j % 3) for j in range(n)])
    sums = array("i", range(3))
    form.softmax(scores, 0, sums, tables.EXP2, 3, n, 20000, 16)
    return crc32(bytes(scores) + bytes(sums)) == ANSWER
