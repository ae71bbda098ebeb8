from array import array
from binascii import crc32

from .. import tables
from . import numbers

ANSWER = 0x240D4D11  # CRC of the results of `right`


def right(form):
    # Heads of queries to fewer of keys and values over seven of nine slots: two and three share
    # one, of eight dimensions and more
    found = 0
    for heads, kv_heads, d, shift in (4, 2, 8, 20), (3, 1, 8, 34), (4, 2, 16, 20):
        keys, values = (numbers("b", 9 * kv_heads * d, step) for step in (37, 91))
        steps = bytearray([1 + (j * 53) % 60 for j in range(9 * kv_heads)])
        q = array("h", [60 * value for value in numbers("b", heads * d, 53)])
        form.attend(q, 0, keys, steps, values, steps, array("i", bytes(*form.room(7))), tables.EXP2,
                    7, heads, kv_heads, d, 20000, shift, 1 << 29, 30)
        found = crc32(bytes(q), found)
    return found == ANSWER
