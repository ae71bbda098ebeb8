from array import array
from binascii import unhexlify as a2b

from .. import tables
from . import numbers

ANSWER = a2b(  # nine tokens of head_dim 5, causal
    "81b6eb205586bbf0255a8abff4295e8ec3f82d628fc4f92e6397cc01365ea2d70c412c9cd1063b39"
    "b0e51a4f08"
)


def right(form):
    n, d = 9, 5
    q, k, v = [numbers("b", n * d, step) for step in (37, 91, 53)]
    mask = b"\0\0\1\0\0\0\0\0\1"
    keys, key_sums, values, row = [bytearray(size) for size in form.room(n, d)]
    scores = array("i", bytes(4 * n * n))
    weights = array("H", bytes(2 * n * n))
    sums = array("i", bytes(4 * n))
    out = array("b", bytes(n * d))
    form.pack_keys(k, keys, key_sums, n, d)
    form.pack_values(v, values, n, d)
    form.scores(keys, 0, q, key_sums, scores, row, 0, n, n, d, 1)
    form.mask_keys(scores, mask, n, n)
    form.softmax(scores, 0, weights, sums, tables.EXP2, 0, n, n, 1, 20000, 19, 100000)
    form.weighted_sum(values, 0, weights, sums, out, 0, n, n, n, d, 1 << 29, 29)
    if bytes(out) != ANSWER or not hasattr(form, "attend"):
        return bytes(out) == ANSWER
    out = array("b", bytes(n * d))
    room = bytearray(form.attend_room(n, d))
    form.attend(keys, 0, q, values, out, room, tables.EXP2, mask, 0, 1, n, n, d, d, 1,
                20000, 19, 100000, 1 << 29, 29)
    return bytes(out) == ANSWER
