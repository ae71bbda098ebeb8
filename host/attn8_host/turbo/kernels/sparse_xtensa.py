"""Attention over listed pairs on LX6 and LX7: attn8/kernels/sparse.py says what kernels compute.

Keys and values are 16 bits, each row filled up to a multiple of four. In front of the keys is room
for a row of q.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, HL, LL
from .common_xtensa import exp2, half_of, reciprocal, row_bytes

DIMENSIONS = (16, 8, 4)
HELD = 6  # words of q in address registers; two more are in m2 and m3
TILE, LAST_TILE = 8, 9  # keys whose values are summed at a time; at most, where they are the last
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
    """packed = room for a row, then k + 128; sums are not needed."""
    a.arguments(k=2, packed=3, keys=4, head_dim=5)
    row_bytes(a, 6, 5)
    a.add(3, 3, 6)
    pack_rows(a, 128)


def pack_values(a: XtensaFunction) -> None:
    """packed = 127 - v, as weights are negated."""
    a.arguments(v=2, packed=3, keys=4, head_dim=5)
    pack_rows(a, 127)


def pack_rows(a: XtensaFunction, flipped: int) -> None:
    """int8 to 16 bits, with these bits flipped.

    Of four values the first and the third make a word, and the others: so one word gives two.
    """
    source, packed, rows, rest, fours, flip, mask, x, y = range(2, 11)
    a.srli(fours, rest, 2)
    a.movi(flip, flipped)
    a.or_(x, source, rest)
    a.extui(x, x, 0, 2)
    a.extui(rest, rest, 0, 2)
    a.bnez(x, "row")
    repeat(a, flip, 8, x)
    repeat(a, flip, 16, x)
    a.movi(mask, 255)
    repeat(a, mask, 16, x)
    a.mull(fours, fours, rows)
    a.loopnez(fours, "word")
    a.l32i(x, source)
    a.addi(source, source, 4)
    a.xor(x, x, flip)
    a.and_(y, x, mask)
    a.s32i(y, packed)
    a.srli(x, x, 8)
    a.and_(x, x, mask)
    a.s32i(x, packed, 4)
    a.addi(packed, packed, 8)
    a.label("word")
    a.j("packed")
    a.label("row")
    a.loopnez(fours, "four")
    for i in range(4):
        pack_byte(a, source, packed, flip, x, i)
    a.addi(source, source, 4)
    a.addi(packed, packed, 8)
    a.label("four")
    a.beqz(rest, "filled")  # with whatever is there: it meets zeros of q, or is not given out
    for i in range(3):
        pack_byte(a, source, packed, flip, x, i)
        a.addi(x, rest, -1 - i)
        a.beqz(x, "end of row")
    a.label("end of row")
    a.add(source, source, rest)
    a.addi(packed, packed, 8)
    a.label("filled")
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")
    a.label("packed")


def repeat(a: XtensaFunction, x: int, shift: int, t: int) -> None:
    """x |= x << shift"""
    a.slli(t, x, shift)
    a.or_(x, x, t)


def pack_byte(a: XtensaFunction, source: int, packed: int, flip: int, t: int, i: int) -> None:
    a.l8ui(t, source, i)
    a.xor(t, t, flip)
    a.s16i(t, packed, (0, 4, 2, 6)[i])


def scores(a: XtensaFunction) -> None:
    """As many dimensions of q as DIMENSIONS says are in registers while the pairs of a row go by:
    256 * q as 16 bits, in the order of packed keys. The sums so far are in `out`.
    """
    k, stride, pairs, out, top, offset, x, t, *held = range(2, 16)
    a.arguments(q=out, first=x, head_dim=t)
    a.mull(x, x, t)
    a.add(out, out, x)
    a.keep(out, "q")
    row_bytes(a, stride, t)
    a.label("row")
    place_query(a, x, k, t, offset)
    a.keep(x, "acc")  # from here on where the rest of the query is
    a.arguments(k=k)
    a.addi(k, k, -4)  # ldinc adds 4 before it loads
    a.add(k, k, stride)
    a.srli(x, stride, 1)  # dimensions to come
    for size in DIMENSIONS:
        name = f"{size} dimensions"
        a.label(name)
        a.addi(x, x, -size)
        a.bltz(x, name + " done")
        a.keep(x, "first")
        words = [*held, pairs, out][: size // 2]
        hold_query(a, words, x, t, top, offset, stride)
        a.arguments(pairs=pairs, out=out, counts=t, first=x)
        a.l16ui(t, t)
        a.addi(x, x, size)
        a.slli(x, x, 1)
        a.movi(top, 1)
        a.slli(top, top, 31)
        a.branch("ne", x, stride, name + " more")
        for more in (" first", " more"):
            a.label(name + more)
            a.loopnez(t, f"{name}{more} pair")
            if more == " more":
                a.l32i(x, out)
                a.slli(x, x, 8)
                a.add(x, x, offset)
                a.wsr(x, ACCLO)
            else:
                a.wsr(offset, ACCLO)
            a.l16ui(x, pairs)
            a.addi(pairs, pairs, 4)
            a.mull(x, x, stride)
            a.add(x, x, k)
            a.ldinc(0, x)
            dot_held(a, words, x)
            a.rsr(x, ACCLO)
            a.srai(x, x, 8)
            a.s32i(x, out)
            a.addi(out, out, 4)
            a.max(top, top, x)
            a.label(f"{name}{more} pair")
            if more == " first":
                a.j(name + " summed")
        a.label(name + " summed")
        a.addi(k, k, 2 * size)
        a.arguments(first=x)
        a.bnez(x, name)
        a.j("listed")
        a.label(name + " done")
        a.addi(x, x, size)
    a.label("listed")
    a.keep(pairs, "pairs")
    a.keep(out, "out")
    a.arguments(counts=x, largest=t)
    a.addi(x, x, 2)
    a.keep(x, "counts")
    a.s32i(top, t)
    a.addi(t, t, 4)
    a.keep(t, "largest")
    a.arguments(rows=x)
    a.addi(x, x, -1)
    a.keep(x, "rows")
    a.beqz(x, "done")
    a.j("row")
    a.label("done")


def place_query(a: XtensaFunction, q: int, row: int, t: int, n: int) -> None:
    """q = the next query in whole words: in its place, or copied to the room before the keys."""
    a.arguments(q=q, head_dim=n)
    a.add(t, q, n)
    a.keep(t, "q")
    a.or_(t, q, n)
    a.extui(t, t, 0, 2)
    a.beqz(t, "in words")
    a.arguments(k=row)
    a.srli(t, n, 2)
    a.addx4(t, t, row)
    a.movi(row, 0)
    a.s32i(row, t)  # zeros behind it
    a.arguments(k=row)
    a.loopnez(n, "copied")
    a.l8ui(t, q)
    a.addi(q, q, 1)
    a.s8i(t, row)
    a.addi(row, row, 1)
    a.label("copied")
    a.arguments(k=q)
    a.label("in words")


def hold_query(
    a: XtensaFunction, words: list[int], q: int, t: int, mask: int, offset: int, stride: int
) -> None:
    """The next dimensions into `words`, of which the last two of eight go into m2 and m3; and what
    k's offset of 128 adds to a score.
    """
    a.arguments(acc=q)
    a.movi(mask, -256)
    a.extui(mask, mask, 0, 16)
    repeat(a, mask, 16, t)
    a.movi(offset, 0)
    a.wsr(offset, ACCLO)
    a.movi(offset, -128)
    for i in range(0, len(words), 2):
        a.l32i(t, q, 2 * i)
        a.and_(words[i + 1], t, mask)
        a.slli(t, t, 8)
        a.and_(words[i], t, mask)
        for word in words[i : i + 2]:
            a.mula_aa(LL, word, offset)
            a.mula_aa(HL, word, offset)
    a.rsr(offset, ACCLO)
    a.addi(q, q, 2 * len(words))
    a.keep(q, "acc")
    if len(words) > HELD:
        a.arguments(k=t)  # by way of the end of the room before the keys
        a.add(t, t, stride)
        a.addi(t, t, -12)
        for i in (0, 1):
            a.s32i(words[HELD + i], t, 4 + 4 * i)
        for i in (0, 1):
            a.ldinc(2 + i, t)


def dot_held(a: XtensaFunction, words: list[int], k: int) -> None:
    """ACC += what hold_query has placed times a key, whose first word is in m0."""
    for i, word in enumerate(words):
        m = i % 2
        if i < HELD:
            if i + 1 < len(words):
                a.mula_da_ldinc(LL, 1 - m, k, m, word)
            else:
                a.mula_da(LL, m, word)
            a.mula_da(HH, m, word)
        else:
            if i + 1 < len(words):
                a.mula_dd_ldinc(LL, 1 - m, k, m, 2 + m)
            else:
                a.mula_dd(LL, m, 2 + m)
            a.mula_dd(HH, m, 2 + m)


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
    half_of(a, y, shift)
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
    exp2(a, y, x, table)
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

    `room` holds how many are to come and where their weights are, the sums so far, a word a column
    in the order of tiles, and that list. Of a tile the pointers and the weights are in registers.
    """
    out, lower, upper, columns, rest, m, p, low, acc, t, zero = range(2, 13)
    a.arguments(out=out, first=t, head_dim=columns, v=acc)
    a.mull(t, t, columns)
    a.add(out, out, t)
    a.keep(out, "out")
    row_bytes(a, t, columns)
    a.keep(t, "first")  # from here on the bytes of a row
    a.addi(acc, acc, -4)  # ldinc adds 4 before it loads
    a.keep(acc, "v")
    a.label("row")
    list_weights(a)
    a.label("tiles")
    a.arguments(room=ROOM)
    a.l32i(T, ROOM, LEFT)
    a.beqz(T, "summed")
    a.addi(T, T, -1 - LAST_TILE)
    a.bgez(T, f"{TILE} keys")
    for size in range(LAST_TILE, 0, -1):
        a.addi(T, T, 1)
        a.beqz(T, f"{size} keys")
    a.label("summed")
    a.arguments(sums=t, num=m, shift=rest, out=out, room=lower, head_dim=columns, first=upper)
    a.l32i(acc, t)
    a.addi(t, t, 4)
    a.keep(t, "sums")
    a.movi(zero, 0)
    reciprocal(a, p, m, acc, t, zero)
    a.movi(t, 33)
    a.sub(t, t, rest)
    a.ssl(t)
    a.sll(m, m)  # so that the high word of a product is shifted by shift - 1
    a.movi(low, -127)
    a.add(upper, upper, lower)
    a.extui(rest, columns, 0, 2)
    a.srli(columns, columns, 2)
    a.ssr(p)

    def column(i: int) -> None:
        a.l32i(acc, (lower, upper)[i // 2], SUMS + i % 2 * 4)
        a.sra(acc, acc)
        a.mulsh(acc, acc, m)
        a.addi(acc, acc, 1)
        a.srai(acc, acc, 1)
        a.clamps(acc, acc, 7)
        a.max(acc, acc, low)
        a.s8i(acc, out, i)

    a.loopnez(columns, "columns")
    for i in range(4):
        column(i)
    a.addi(lower, lower, 8)
    a.addi(upper, upper, 8)
    a.addi(out, out, 4)
    a.label("columns")
    for i in range(3):
        a.addi(t, rest, -i)
        a.beqz(t, "end of row")
        column(i)
    a.label("end of row")
    a.add(out, out, rest)
    a.keep(out, "out")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.beqz(t, "done")
    a.j("row")
    for size in range(1, LAST_TILE + 1):
        sum_tile(a, size)
        a.j("tiles" if size == TILE else "summed")
    a.label("done")


def list_weights(a: XtensaFunction) -> None:
    pair, stride, v, row, weight, weights, x, y, n, room, t = range(2, 13)
    a.arguments(counts=t, room=room, pairs=pair, first=stride, v=v, sums=y)
    a.l16ui(n, t)
    a.addi(t, t, 2)
    a.keep(t, "counts")
    a.l32i(y, y)
    a.slli(x, y, 7)
    a.sub(x, x, y)  # what the offset of 127 adds, modulo 2**32
    a.srli(y, stride, 3)
    a.mov(row, room)
    a.loopnez(y, "filled")
    for i in range(4):
        a.s32i(x, row, SUMS + 4 * i)
    a.addi(row, row, 16)
    a.label("filled")
    a.addi(row, row, SUMS)
    a.keep(row, "x")
    a.addx4(weights, n, row)
    a.s32i(weights, room, WEIGHTS)
    a.mov(weight, weights)
    a.loopnez(n, "weight")
    a.l16ui(y, pair, 2)
    a.beqz(y, "next")
    a.neg(y, y)
    a.s16i(y, weight)
    a.l16ui(x, pair)
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
    """Sums -= weight * packed v for `size` keys, which are the last ones but for a TILE."""
    rows, weights = range(2, 2 + size), range(11, 14)
    name = f"{size} keys"
    a.label(name)
    if size == TILE:
        a.l32i(T, ROOM, LEFT)
        a.addi(T, T, -TILE)
        a.s32i(T, ROOM, LEFT)
    a.arguments(x=T)
    for i, row in enumerate(rows):
        a.l32i(row, T, 4 * i)
    if size == TILE:
        a.addi(T, T, 4 * TILE)
        a.keep(T, "x")
    a.l32i(T, ROOM, WEIGHTS)
    a.addi(T, T, -4)
    for i in range(0, size, 2):  # two weights a word: of four keys in m2 and m3
        if i < 4:
            a.ldinc(2 + i // 2, T)
        else:
            a.l32i(weights[i // 2 - 2], T, 2 * i - 4)
    if size == TILE:
        a.addi(T, T, 2 * TILE - 4)
        a.s32i(T, ROOM, WEIGHTS)
    for upper in (0, 1):  # halves of words
        a.ldinc(0, rows[0])
        a.arguments(first=T)
        a.srli(T, T, 2)
        a.loopnez(T, f"{name} {upper}")
        a.l32i(T, ROOM, SUMS)
        a.wsr(T, ACCLO)
        for i in range(size):
            halves, m, following = upper | i % 2 << 1, i % 2, rows[(i + 1) % size]
            load = (i + 1) % size % 2
            if size == 1:  # nothing else is in flight
                a.mula_dd(halves, 0, 2)
                a.ldinc(0, following)
            elif i < 4:
                a.mula_dd_ldinc(halves, load, following, m, 2 + i // 2)
            else:
                a.mula_da_ldinc(halves, load, following, m, weights[i // 2 - 2])
        a.rsr(T, ACCLO)
        a.s32i(T, ROOM, SUMS)
        a.addi(ROOM, ROOM, 4)
        a.label(f"{name} {upper}")
        if not upper:  # back to the start of the rows
            a.arguments(first=T)
            for row in rows:
                a.sub(row, row, T)
            a.addi(rows[0], rows[0], -4)
