from array import array
from binascii import crc32

from . import numbers

ANSWER = 0x1D35C0FB  # CRC of the results of `right`


def right(form):
    # 19 words: blocks and rests, large enough for some sums to saturate; in Q16.16
    n, limit = 19, (1 << 30) - 1
    x = array("i", [value * 8000001 for value in numbers("b", n, 37)])
    y = array("i", [value * 8000001 for value in numbers("b", n, 91)])
    room = [array("i", bytes(4 * n)) for _ in range(6)]
    sums, count = array("i", [7]), array("i", [0])
    form.add(x, y, room[0], n, 0, limit, count)
    form.add(x, y, room[1], n, -1, limit, count)
    form.scale(x, 0, room[2], n, 20000, 15)
    form.scale(x, 0, room[3], n, 20000, 19)
    form.relu(x, y, room[4], n)
    form.column_sums(x, 0, sums, n, 1, limit, count)
    form.spread(y, room[5], 1, n)
    form.column_sums(y, 0, room[5], 1, n, limit, count)
    wide = array("i", bytes(4 * n))
    form.spread(sums, wide, n, 1)
    found = b"".join([bytes(values) for values in room]) + bytes(wide) + bytes(sums)
    right = form.peak(x, 0, n) == 127 * 8000001 - 1
    sums[0] = form.squares(room[2], 0, n, 18)
    for momentum, shift, lr_shift, grad in ((0, 15, 15, room[1]), (20000, 15, 17, room[2]),
                                            (30000, 16, 16, room[3])):
        form.sgd(x, 0, grad, y, n, momentum, shift, 30000, lr_shift, limit, count)
        found += bytes(x) + bytes(grad) + bytes(y)
    return right and crc32(found + bytes(sums) + bytes(count)) == ANSWER
