from array import array
from binascii import crc32

from .. import tables
from . import numbers

ANSWER = 1357069445  # the checksum of nine tokens of head_dim 5, causal


def right(form):
    n, d = 9, 5
    q = numbers("b", n * d, 37)
    mask = b"\0\0\1\0\0\0\0\0\1"
    keys, key_sums, values, row = [bytearray(size) for size in form.room(n, d)]
    form.pack_keys(numbers("b", n * d, 91), keys, key_sums, n, d)
    form.pack_values(numbers("b", n * d, 53), values, n, d)
    scores, weights, sums = [bytearray(size) for size in (4 * n * n, 2 * n * n, 4 * n)]
    out = array("b", bytes(n * d))
    form.scores(keys, 0, q, key_sums, scores, row, 0, n, n, d, 1)
    form.mask_keys(scores, mask, n, n)
    form.softmax(scores, 0, weights, sums, tables.EXP2, 0, n, n, 1, 20000, 19, 100000)
    form.weighted_sum(values, 0, weights, sums, out, 0, n, n, n, d, 1 << 29, 29)
    if crc32(out) != ANSWER or not hasattr(form, "attend"):
        return crc32(out) == ANSWER
    del scores, weights, sums
    out = array("b", bytes(n * d))
    room = bytearray(form.attend_room(n, d))
    form.attend(keys, 0, q, values, out, room, tables.EXP2, mask, 0, 1, n, n, d, d, 1,
                20000, 19, 100000, 1 << 29, 29)
    return crc32(out) == ANSWER
