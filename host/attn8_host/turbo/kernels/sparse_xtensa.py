"""Attention over listed pairs on LX6 and LX7: attn8/kernels/sparse.py says what kernels compute.

Keys and values are int16, each row filled up with zeros to a multiple of four. In front of the keys
is room for a row of q.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO
from .common_xtensa import dot16, reciprocal, row_bytes, widen_row

TILE = 8  # keys whose values are summed at a time
LEFT, WEIGHTS, SUMS = 0, 4, 8  # offsets in weighted_sum's room
T, ROOM = 14, 15  # registers beside a tile


def list_spans(a: XtensaFunction) -> None:
    pairs, spans, counts, offsets, rows, n, key, end, begin, t = range(2, 12)
    a.arguments(pairs=pairs, spans=spans, counts=counts, offsets=offsets, first=t, rows=rows)
    a.addx2(offsets, t, offsets)
    a.l16ui(t, offsets)
    a.addx4(spans, t, spans)
    a.label("row")
    a.l16ui(n, offsets, 2)
    a.l16ui(t, offsets)
    a.addi(offsets, offsets, 2)
    a.mov(begin, pairs)
    a.sub(n, n, t)
    a.beqz(n, "counted")
    a.label("span")
    a.l16ui(key, spans)
    a.l16ui(end, spans, 2)
    a.addi(spans, spans, 4)
    a.sub(end, end, key)
    a.loopnez(end, "key")
    a.s16i(key, pairs)
    a.addi(pairs, pairs, 4)
    a.addi(key, key, 1)
    a.label("key")
    a.addi(n, n, -1)
    a.bnez(n, "span")
    a.label("counted")
    count(a, pairs, begin, counts)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")


def count(a: XtensaFunction, pairs: int, begin: int, counts: int) -> None:
    """counts[0] = pairs since `begin`; moves counts on."""
    a.sub(begin, pairs, begin)
    a.srli(begin, begin, 2)
    a.s16i(begin, counts)
    a.addi(counts, counts, 2)


def list_bits(a: XtensaFunction) -> None:
    """From the lowest bit on, in words where all rows are whole ones."""
    pairs, bits, counts, rows, stride, n, last, b, lowest, begin = range(2, 12)
    a.arguments(pairs=pairs, bits=bits, counts=counts, first=n, rows=rows, stride=stride)
    a.mull(n, n, stride)
    a.add(bits, bits, n)
    a.or_(n, bits, stride)
    a.extui(n, n, 0, 2)
    a.bnez(n, "1 row")
    for size, load in ((4, a.l32i), (1, a.l8ui)):
        a.label(f"{size} row")
        a.mov(n, stride)
        if size == 4:
            a.srli(n, n, 2)
        a.movi(last, 31)  # the key of bit 31
        a.mov(begin, pairs)
        a.label(f"{size} bytes")
        load(b, bits)
        a.addi(bits, bits, size)
        a.beqz(b, f"{size} next")
        a.label(f"{size} bit")
        a.neg(lowest, b)
        a.and_(lowest, lowest, b)
        a.xor(b, b, lowest)
        a.nsau(lowest, lowest)
        a.sub(lowest, last, lowest)
        a.s16i(lowest, pairs)
        a.addi(pairs, pairs, 4)
        a.bnez(b, f"{size} bit")
        a.label(f"{size} next")
        a.addi(last, last, 8 * size)
        a.addi(n, n, -1)
        a.bnez(n, f"{size} bytes")
        count(a, pairs, begin, counts)
        a.addi(rows, rows, -1)
        a.bnez(rows, f"{size} row")
        if size == 4:
            a.j("done")
    a.label("done")


def pack_keys(a: XtensaFunction) -> None:
    """packed = room for a row, k as int16; sums are not needed."""
    a.arguments(packed=3, head_dim=5)
    row_bytes(a, 4, 5)
    a.add(3, 3, 4)
    a.arguments(k=2, keys=4)
    widen_rows(a)


def pack_values(a: XtensaFunction) -> None:
    a.arguments(v=2, packed=3, keys=4, head_dim=5)
    widen_rows(a)


def widen_rows(a: XtensaFunction) -> None:
    source, packed, rows, rest, groups, t, zero = range(2, 9)
    a.movi(zero, 0)
    a.srli(groups, rest, 2)
    a.extui(rest, rest, 0, 2)
    a.label("row")
    widen_row(a, source, packed, groups, rest, t, zero)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")


def scores(a: XtensaFunction) -> None:
    k, q, row, pairs, end, out, groups, stride, zero, top, x, y = range(2, 14)
    a.arguments(k=row, q=q, first=x, head_dim=groups, pairs=pairs, out=out)
    a.mull(x, x, groups)
    a.add(q, q, x)
    row_bytes(a, stride, groups)
    a.movi(zero, 0)
    a.label("row")
    a.arguments(k=row, head_dim=groups)
    a.extui(x, groups, 0, 2)
    a.srli(groups, groups, 2)
    widen_row(a, q, row, groups, x, y, zero)
    a.arguments(k=row, counts=y)
    a.addi(row, row, -4)
    a.add(k, row, stride)
    a.srli(groups, stride, 3)  # groups of four products
    a.l16ui(end, y)
    a.addi(y, y, 2)
    a.keep(y, "counts")
    a.addx4(end, end, pairs)
    a.movi(top, 1)
    a.slli(top, top, 31)
    a.branch("eq", pairs, end, "listed")
    a.label("pair")
    a.l16ui(x, pairs)
    a.addi(pairs, pairs, 4)
    a.mull(x, x, stride)
    a.add(x, x, k)
    a.ldinc(0, x)
    dot16(a, x, y, row, groups, zero, "dot")
    a.rsr(y, ACCLO)
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.max(top, top, y)
    a.branch("ne", pairs, end, "pair")
    a.label("listed")
    a.arguments(largest=x, rows=y)
    a.s32i(top, x)
    a.addi(x, x, 4)
    a.keep(x, "largest")
    a.addi(y, y, -1)
    a.keep(y, "rows")
    a.bnez(y, "row")


def softmax(a: XtensaFunction) -> None:
    score, pair, table, rows, mult, shift, base, least, total, x, y, counts = range(2, 14)
    a.arguments(scores=score, pairs=pair, table=table, rows=rows, mult=mult, shift=shift)
    a.arguments(counts=counts)
    a.label("row")
    a.arguments(largest=y, limit=x)
    a.l32i(least, y)
    a.addi(y, y, 4)
    a.keep(y, "largest")
    a.mull(base, least, mult)
    a.sub(least, least, x)
    a.movi(y, 1)
    a.ssl(shift)
    a.sll(y, y)
    a.srli(y, y, 1)
    a.add(base, base, y)  # largest*mult and a half, modulo 2**32
    a.movi(total, 0)
    a.l16ui(y, counts)
    a.addi(counts, counts, 2)
    a.loopnez(y, "numerator")
    a.l32i(x, score)
    a.addi(score, score, 4)
    a.movi(y, 0)
    a.branch("lt", x, least, "far")
    a.mull(x, x, mult)
    a.ssr(shift)
    a.sub(x, base, x)
    a.sra(x, x)
    a.extui(y, x, 0, 8)
    a.addx2(y, y, table)
    a.l16ui(y, y)
    a.srai(x, x, 8)
    a.ssr(x)
    a.srl(y, y)
    a.addi(y, y, 1)
    a.srli(y, y, 1)
    a.label("far")
    a.s16i(y, pair, 2)
    a.addi(pair, pair, 4)
    a.add(total, total, y)
    a.label("numerator")
    a.arguments(sums=x)
    a.s32i(total, x)
    a.addi(x, x, 4)
    a.keep(x, "sums")
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")


def weighted_sum(a: XtensaFunction) -> None:
    """What a row sums is listed first, without the keys of weight 0: pointers to their values, and
    their weights negated, as these reach 32768, beyond int16.

    `room` holds how many are to come and where their weights are, the sums so far, a word a column,
    and that list. Of a tile of keys the pointers and the weights are in registers.
    """
    out, room, columns, shift, p, m, low, zero, acc, t = range(2, 12)
    a.arguments(out=out, first=t, head_dim=columns, room=room, v=acc)
    a.mull(t, t, columns)
    a.add(out, out, t)
    a.keep(out, "out")
    row_bytes(a, t, columns)
    a.keep(t, "first")  # from here on the bytes of a row
    a.addi(acc, acc, -4)  # ldinc adds 4 before it loads
    a.keep(acc, "v")
    a.movi(zero, 0)
    a.loopnez(columns, "cleared")
    a.s32i(zero, room, SUMS)
    a.addi(room, room, 4)
    a.label("cleared")
    a.label("row")
    list_weights(a)
    a.label("tiles")
    a.arguments(room=ROOM)
    a.l32i(T, ROOM, LEFT)
    for size in range(1, TILE):
        a.addi(T, T, -1)
        a.beqz(T, f"{size} keys")
    a.bgez(T, f"{TILE} keys")
    a.arguments(sums=t, num=m, shift=shift, out=out, room=room, head_dim=columns)
    a.l32i(acc, t)
    a.addi(t, t, 4)
    a.keep(t, "sums")
    a.movi(zero, 0)
    reciprocal(a, p, m, acc, t, zero)
    a.movi(t, 33)
    a.sub(t, t, shift)
    a.ssl(t)
    a.sll(m, m)  # so that the high word of a product is shifted by shift - 1
    a.movi(low, -127)
    a.ssr(p)
    a.loopnez(columns, "column")
    a.l32i(acc, room, SUMS)
    a.s32i(zero, room, SUMS)
    a.neg(acc, acc)
    a.sra(acc, acc)
    a.mulsh(acc, acc, m)
    a.addi(room, room, 4)
    a.addi(acc, acc, 1)
    a.srai(acc, acc, 1)
    a.clamps(acc, acc, 7)
    a.max(acc, acc, low)
    a.s8i(acc, out)
    a.addi(out, out, 1)
    a.label("column")
    a.keep(out, "out")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.beqz(t, "done")
    a.j("row")
    for size in range(1, TILE + 1):
        sum_tile(a, size)
        a.j("tiles")
    a.label("done")


def list_weights(a: XtensaFunction) -> None:
    pair, stride, v, row, weight, weights, x, y, n, room, t = range(2, 13)
    a.arguments(counts=t, room=room, head_dim=row, pairs=pair, first=stride, v=v)
    a.l16ui(n, t)
    a.addi(t, t, 2)
    a.keep(t, "counts")
    a.addx4(row, row, room)
    a.addi(row, row, SUMS)
    a.keep(row, "x")
    a.addx4(weights, n, row)
    a.s32i(weights, room, WEIGHTS)
    a.mov(weight, weights)
    a.loopnez(n, "weight")
    a.l32i(x, pair)
    a.extui(y, x, 16, 16)
    a.beqz(y, "next")
    a.neg(y, y)
    a.s16i(y, weight)
    a.extui(x, x, 0, 16)
    a.mull(x, x, stride)
    a.addi(weight, weight, 2)
    a.add(x, x, v)
    a.s32i(x, row)
    a.addi(row, row, 4)
    a.label("next")
    a.addi(pair, pair, 4)
    a.label("weight")
    a.keep(pair, "pairs")
    a.sub(weight, weight, weights)
    a.srli(weight, weight, 1)
    a.s32i(weight, room, LEFT)


def sum_tile(a: XtensaFunction, size: int) -> None:
    """room -= weight * v for `size` keys."""
    rows, weights = range(2, 2 + size), range(10, 14)
    name = f"{size} keys"
    a.label(name)
    a.arguments(x=T)
    for i, row in enumerate(rows):
        a.l32i(row, T, 4 * i)
    a.addi(T, T, 4 * size)
    a.keep(T, "x")
    a.l32i(T, ROOM, WEIGHTS)
    for i in range(0, size, 2):  # two weights a register
        a.l32i(weights[i // 2], T, 2 * i)
    a.addi(T, T, 2 * size)
    a.s32i(T, ROOM, WEIGHTS)
    a.l32i(T, ROOM, LEFT)
    a.addi(T, T, -size)
    a.s32i(T, ROOM, LEFT)
    for high in (0, 1):  # columns of even and of odd place, in the halves of words
        a.ldinc(0, rows[0])
        a.arguments(room=ROOM, head_dim=T)
        if high:
            a.addi(ROOM, ROOM, 4)
        else:
            a.addi(T, T, 1)
        a.srli(T, T, 1)
        a.loopnez(T, f"{name} {high}")
        a.l32i(T, ROOM, SUMS)
        a.wsr(T, ACCLO)
        for i in range(size - 1):
            a.mula_da_ldinc(high | i % 2 << 1, (i + 1) % 2, rows[i + 1], i % 2, weights[i // 2])
        last = size - 1
        if size > 1:
            a.mula_da_ldinc(high | last % 2 << 1, 0, rows[0], last % 2, weights[last // 2])
        else:
            a.mula_da(high, 0, weights[0])
            a.ldinc(0, rows[0])
        a.rsr(T, ACCLO)
        a.s32i(T, ROOM, SUMS)
        a.addi(ROOM, ROOM, 8)
        a.label(f"{name} {high}")
        if not high:  # back to the start of the rows
            a.arguments(head_dim=T)
            a.addi(T, T, 1)
            a.srli(T, T, 1)
            a.slli(T, T, 2)
            for row in rows:
                a.sub(row, row, T)
            a.addi(rows[0], rows[0], -4)
