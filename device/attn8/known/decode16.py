from array import array
from binascii import crc32

from .. import tables
from . import numbers

ANSWER = 0xDB8003C5  # CRC of the results of `right`


def right(form):
    # Heads of queries to fewer of keys and values over six slots: two and three share one, of eight
    # dimensions and more
    found = 0
    for heads, kv_heads, d, shift in (4, 2, 8, 27), (3, 1, 16, 34), (2, 1, 24, 30):
        size = kv_heads * d
        rows = [array("h", [60 * value for value in numbers("b", 6 * size, step)])
                for step in (37, 91)]
        keys, values = array("h", bytes(12 * size)), array("h", bytes(16 * size))
        for slot in range(6):
            form.put(*[row[slot * size : (slot + 1) * size] for row in rows], keys, values, slot,
                     size)
        q = array("h", [20 * value for value in numbers("b", heads * d, 53)])
        form.attend(q, 0, keys, values, array("i", bytes(*form.room(6))), tables.EXP2, 6, heads,
                    kv_heads, d, 20000, shift, 1 << 29, 30)
        found = crc32(bytes(q), found)
    return found == ANSWER
