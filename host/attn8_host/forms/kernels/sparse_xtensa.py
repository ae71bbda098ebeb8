"""Attention over listed pairs on LX6 and LX7; `attend_rows` does, row after row, what
attn8/forms/viper/sparse.py does in scores, softmax and weighted_sum.

Keys and values are 16 bits, each row filled up to a multiple of four. A key's values follow it, so
that a pointer which has read the key stands at them. In front is room for a row of q. In `room`
are, for one row, 8 bytes for each listed pair, the score and that pointer; then weights; then the
sums of columns.
"""

import itertools

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, HL, LH, LL, M0
from .common_xtensa import reciprocal, row_bytes

DIMENSIONS = (16, 8, 4)
HELD = 6  # words of q in address registers; two more are in m2 and m3
# Keys whose values are summed at a time: TILE while there are as many, then the next of LAST
TILE = 8
LAST = (7, 5, 3, 1, 0)
# Registers of such a tile, and of the last one: pointers to values are in 2 and up, and weights
# beyond those of four keys, which are in m2 and m3, behind them
TILE_T, TILE_ROOM, TILE_INIT, LEFT = range(12, 16)
T, ROOM, SCALE, OUT, LOW = range(11, 16)
INIT = ROOM  # where it is the only one
# Registers that one step leaves to the next: where the lists of pointers and of weights end, the
# sum of the weights, and the largest score
LISTED, WEIGHTS_END, TOTAL, LARGEST = range(3, 7)
SPARE = {"attend_rows": ("weights", "sums", "place", "scale", "tile", "tile_weights")}


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


def pack(a: XtensaFunction) -> None:
    """packed = room for a row of q; then for each key k + 128, and 127 - v as weights are negated.

    Of four values the first and the third make a word, and the others: so one word gives two.
    """
    k, v, packed, rows, fours, rest, mask, x, y, *flips = range(2, 13)
    a.arguments(k=k, v=v, packed=packed, keys=rows, head_dim=rest)
    row_bytes(a, x, rest)
    a.add(packed, packed, x)
    a.srli(fours, rest, 2)
    for flip, bits in zip(flips, (128, 127), strict=True):
        a.movi(flip, bits)
    a.or_(x, k, v)
    a.or_(x, x, rest)
    a.extui(x, x, 0, 2)
    a.extui(rest, rest, 0, 2)
    a.bnez(x, "row of bytes")
    for flip in flips:
        repeat(a, flip, 8, x)
        repeat(a, flip, 16, x)
    a.movi(mask, 255)
    repeat(a, mask, 16, x)
    a.label("row")
    for source, flip in zip((k, v), flips, strict=True):
        a.loopnez(fours, f"word of {source}")
        a.l32i(x, source)
        a.addi(source, source, 4)
        a.xor(x, x, flip)
        a.and_(y, x, mask)
        a.s32i(y, packed)
        a.srli(x, x, 8)
        a.and_(x, x, mask)
        a.s32i(x, packed, 4)
        a.addi(packed, packed, 8)
        a.label(f"word of {source}")
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")
    a.j("packed")
    a.label("row of bytes")
    for source, flip in zip((k, v), flips, strict=True):
        a.loopnez(fours, f"four of {source}")
        for i in range(4):
            pack_byte(a, source, packed, flip, x, i)
        a.addi(source, source, 4)
        a.addi(packed, packed, 8)
        a.label(f"four of {source}")
        a.beqz(rest, f"{source} filled")  # with anything: it meets zeros of q, or is no column
        for i in range(3):
            pack_byte(a, source, packed, flip, x, i)
            a.addi(x, rest, -1 - i)
            a.beqz(x, f"end of {source}")
        a.label(f"end of {source}")
        a.add(source, source, rest)
        a.addi(packed, packed, 8)
        a.label(f"{source} filled")
    a.addi(rows, rows, -1)
    a.bnez(rows, "row of bytes")
    a.label("packed")


def repeat(a: XtensaFunction, x: int, shift: int, t: int) -> None:
    """x |= x << shift"""
    a.slli(t, x, shift)
    a.or_(x, x, t)


def pack_byte(a: XtensaFunction, source: int, packed: int, flip: int, t: int, i: int) -> None:
    a.l8ui(t, source, i)
    a.xor(t, t, flip)
    a.s16i(t, packed, (0, 4, 2, 6)[i])


def attend_rows(a: XtensaFunction) -> None:
    prepare(a)
    a.label("row")
    score_row(a)
    weigh_row(a)
    sum_row(a)
    a.arguments(rows=2)
    a.addi(2, 2, -1)
    a.keep(2, "rows")
    a.beqz(2, "done")
    a.j("row")
    a.label("done")


def prepare(a: XtensaFunction) -> None:
    """From here on `packed` is where ldinc finds the keys, `first` the bytes of a row, and `out`
    and `q` start at the first row; `limit` is 256 times as large, as scores are, and `mult` and
    `out_shift` make the high word of a product what is wanted.
    """
    n, row, t, x, y = range(2, 7)
    a.arguments(head_dim=n, first=t, packed=x)
    row_bytes(a, row, n)
    a.mull(t, t, n)
    a.keep(row, "first")
    a.add(x, x, row)
    a.addi(x, x, -4)  # ldinc adds 4 before it loads
    a.keep(x, "packed")
    for name in ("q", "out"):
        a.argument(x, name)
        a.add(x, x, t)
        a.keep(x, name)
    a.arguments(room=t, keys=y)
    a.slli(row, y, 3)
    a.add(t, t, row)
    a.keep(t, "weights")
    a.srli(y, y, 1)
    a.addi(y, y, 1)
    a.slli(y, y, 2)  # of one key more than there are
    a.add(t, t, y)
    a.keep(t, "sums")
    a.extui(n, n, 0, 2)
    a.movnez(x, t, n)
    a.keep(x, "place")  # of a row of results: copied from there where a row is no whole words
    a.arguments(limit=x, mult=t, shift=y)
    a.movi(row, 1)
    a.slli(row, row, 23)
    a.addi(row, row, -1)
    a.min(x, x, row)  # no scores differ by more
    a.slli(x, x, 8)
    a.keep(x, "limit")
    a.movi(x, 25)
    a.sub(x, x, y)
    a.ssl(x)
    a.sll(t, t)
    a.keep(t, "mult")
    a.arguments(out_shift=t)
    a.movi(x, 33)
    a.sub(x, x, t)
    a.keep(x, "out_shift")


def score_row(a: XtensaFunction) -> None:
    """256 * q @ (k + 128) for the listed keys: a constant more than scores, which softmax ignores.

    As many dimensions of q as DIMENSIONS says are in registers while the keys of a row go by:
    256 * q as 16 bits, in the order of packed keys.
    """
    k, stride, pairs, entry = range(2, 6)
    x, t, q, *held = range(7, 16)
    place_query(a, q, x, t, k)
    a.arguments(packed=k, first=t)
    a.slli(stride, t, 1)
    for size in DIMENSIONS:
        name = f"{size} dimensions"
        a.label(name)
        a.addi(t, t, -2 * size)
        a.bltz(t, name + " done")
        words = [*held, pairs, entry][: size // 2]
        hold_query(a, words, q, t, x)
        a.arguments(pairs=pairs, room=entry, counts=t, packed=x)
        a.l16ui(t, t)
        a.movi(LARGEST, 1)
        a.slli(LARGEST, LARGEST, 31)
        a.branch("ne", x, k, name + " more")
        for more in (" first", " more"):
            a.label(name + more)
            a.loopnez(t, name + more + " pair")
            a.l16ui(x, pairs)
            a.addi(pairs, pairs, 4)
            a.mull(x, x, stride)
            a.add(x, x, k)
            a.ldinc(0, x)
            if more == " more":
                a.l32i(t, entry)
                a.wsr(t, ACCLO)
            dot_held(a, words, x, first=more == " first")
            a.rsr(t, ACCLO)
            a.s32i(t, entry)
            a.s32i(x, entry, 4)
            a.addi(entry, entry, 8)
            a.max(LARGEST, LARGEST, t)
            a.label(name + more + " pair")
            if more == " first":
                a.j(name + " summed")
        a.label(name + " summed")
        a.addi(k, k, 2 * size)
        a.arguments(packed=x, first=t)
        a.sub(x, k, x)
        a.sub(t, t, x)
        a.bnez(t, name)
        a.j("scored")
        a.label(name + " done")
        a.addi(t, t, 2 * size)
    a.label("scored")
    a.keep(pairs, "pairs")


def place_query(a: XtensaFunction, q: int, row: int, t: int, n: int) -> None:
    """q = the next query in whole words: in its place, or copied to the room before the keys."""
    a.arguments(q=q, head_dim=n)
    a.add(t, q, n)
    a.keep(t, "q")
    a.or_(t, q, n)
    a.extui(t, t, 0, 2)
    a.beqz(t, "in words")
    a.arguments(packed=row, first=t)
    a.sub(row, row, t)
    a.addi(row, row, 4)
    a.srli(t, n, 2)
    a.addx4(t, t, row)
    a.sub(q, q, row)
    a.movi(n, 0)
    a.s32i(n, t)  # zeros behind it
    a.arguments(head_dim=n)
    a.loopnez(n, "copied")
    a.add(t, q, row)
    a.l8ui(t, t)
    a.s8i(t, row)
    a.addi(row, row, 1)
    a.label("copied")
    a.sub(q, row, n)
    a.label("in words")


def hold_query(a: XtensaFunction, words: list[int], q: int, t: int, mask: int) -> None:
    """The next dimensions into `words`, of which the last two of eight go on to m2 and m3."""
    a.movi(mask, -256)
    a.extui(mask, mask, 0, 16)
    repeat(a, mask, 16, t)
    for i in range(0, len(words), 2):
        a.l32i(t, q, 2 * i)
        a.and_(words[i + 1], t, mask)
        a.slli(t, t, 8)
        a.and_(words[i], t, mask)
    a.addi(q, q, 2 * len(words))
    for i, word in enumerate(words[HELD:]):
        a.wsr(word, M0 + 2 + i)


def dot_held(a: XtensaFunction, words: list[int], k: int, first: bool) -> None:
    """ACC += what hold_query has placed times a key, whose first word is in m0; or ACC = that."""
    for i, word in enumerate(words):
        m, more = i % 2, i + 1 < len(words)
        if i == 0 and first:
            a.mul_da(LL, m, word)
            a.mula_da_ldinc(HH, 1 - m, k, m, word)
        elif i < HELD:
            if more:
                a.mula_da_ldinc(LL, 1 - m, k, m, word)
            else:
                a.mula_da(LL, m, word)
            a.mula_da(HH, m, word)
        else:
            if more:
                a.mula_dd_ldinc(LL, 1 - m, k, m, 2 + m)
            else:
                a.mula_dd(LL, m, 2 + m)
            a.mula_dd(HH, m, 2 + m)


def weigh_row(a: XtensaFunction) -> None:
    """The softmax numerators of a row, negated, as they reach 32768, beyond int16; and beside them
    where the values of these keys are; there is room for one key more.
    """
    entry = 2
    limit, mult, table, x, y = range(7, 12)
    a.arguments(room=entry, weights=WEIGHTS_END, limit=limit, mult=mult, table=table, counts=x)
    a.l16ui(y, x)
    a.addi(x, x, 2)
    a.keep(x, "counts")
    a.mov(LISTED, entry)
    a.movi(TOTAL, 0)
    a.loopnez(y, "weighed")
    a.l32i(x, entry)
    a.sub(x, LARGEST, x)
    a.branch("ltu", limit, x, "far")
    a.muluh(x, x, mult)  # twice the logarithm in 1/256 octaves
    a.addi(x, x, 1)
    a.extui(y, x, 1, 8)
    a.addx2(y, y, table)
    a.l16ui(y, y)
    a.srai(x, x, 9)
    a.ssr(x)
    a.srl(y, y)
    a.neg(y, y)
    a.srai(y, y, 1)  # down, which is up for the numerator
    a.s16i(y, WEIGHTS_END)
    a.addi(WEIGHTS_END, WEIGHTS_END, 2)
    a.l32i(x, entry, 4)
    a.s32i(x, LISTED)
    a.addi(LISTED, LISTED, 4)
    a.sub(TOTAL, TOTAL, y)
    a.label("far")
    a.addi(entry, entry, 8)
    a.label("weighed")


def sum_row(a: XtensaFunction) -> None:
    """The values that weigh_row has listed, summed in tiles, and the results."""
    p, zero, t, left = 2, LARGEST, 7, T
    a.arguments(weights=t, num=SCALE)
    a.sub(left, WEIGHTS_END, t)
    a.srli(left, left, 1)
    a.movi(zero, 0)
    a.bnez(left, "some keys")
    a.arguments(head_dim=t, place=p)
    a.loopnez(t, "zeros")
    a.s8i(zero, p)
    a.addi(p, p, 1)
    a.label("zeros")
    a.j("row summed")
    a.label("some keys")
    a.s16i(zero, WEIGHTS_END)  # one key more, which weighs nothing
    a.arguments(room=t)
    a.l32i(t, t)
    a.s32i(t, LISTED)
    a.slli(INIT, TOTAL, 7)
    a.sub(INIT, INIT, TOTAL)  # what the offset of 127 adds
    reciprocal(a, p, SCALE, TOTAL, t, zero)
    a.arguments(out_shift=t)
    a.ssl(t)
    a.sll(SCALE, SCALE)  # so that the high word of a product is shifted by one bit
    a.ssr(p)
    a.addi(t, left, -TILE)
    a.bgez(t, "many keys")
    choose(a, "only", left, t)
    for size in LAST[:-1]:
        sum_tile(a, "only", size)
    a.label("many keys")
    a.mov(LEFT, t)
    a.mov(TILE_INIT, INIT)
    a.keep(SCALE, "scale")
    sum_tile(a, "first", TILE)
    a.label("more keys")
    a.addi(TILE_T, LEFT, -TILE)
    a.bltz(TILE_T, "last keys")
    a.mov(LEFT, TILE_T)
    sum_tile(a, "next", TILE)
    a.j("more keys")
    a.label("last keys")
    choose(a, "last", LEFT, TILE_T)
    for size in LAST:
        sum_tile(a, "last", size)
    a.label("row summed")
    n, place, t, out = range(2, 6)
    a.arguments(head_dim=n, place=place)
    a.extui(t, n, 0, 2)
    a.bnez(t, "copy")
    a.add(place, place, n)
    a.keep(place, "place")
    a.j("row placed")
    a.label("copy")
    a.arguments(out=out)
    a.loopnez(n, "copied row")
    a.l8ui(t, place)
    a.addi(place, place, 1)
    a.s8i(t, out)
    a.addi(out, out, 1)
    a.label("copied row")
    a.keep(out, "out")
    a.label("row placed")


def choose(a: XtensaFunction, kind: str, left: int, t: int) -> None:
    """To the smallest tile of this kind for `left` keys."""
    sizes = LAST if kind == "last" else LAST[:-1]
    for size, smaller in itertools.pairwise(sizes):
        a.addi(t, left, -1 - smaller)
        a.bgez(t, f"{kind} {size} keys")
    a.j(f"{kind} {sizes[-1]} keys")


def sum_tile(a: XtensaFunction, kind: str, size: int) -> None:
    """Sums of weight * value over `size` keys, from INIT or from the sums so far, and back there;
    or, if the tile is the last, on to results. The first half of the columns are the low halves of
    words, so there are two passes.
    """
    starts, ends = kind in ("only", "first"), kind in ("only", "last")
    rows = range(2, 2 + size)
    t, room, init = (T, ROOM, INIT) if ends else (TILE_T, TILE_ROOM, TILE_INIT)
    weights = range(t - (1 if size < 7 else 2), t)
    name = f"{kind} {size} keys"
    a.label(name)
    if size:
        load_tile(a, rows, weights, t, starts, ends)
    if kind != "only":
        a.arguments(sums=room)
    if ends:
        a.arguments(place=OUT)
        a.movi(LOW, -127)
    if kind == "last":
        a.arguments(scale=SCALE)
    for upper in (0, 1):
        if size:
            a.ldinc(0, rows[0])
        a.arguments(first=t)
        a.srli(t, t, 3)
        a.loopnez(t, f"{name} {upper}")
        for i in (0, 1):
            if not starts:
                a.l32i(t, room, 4 * i)
            if size:
                a.wsr(init if starts else t, ACCLO)
                multiply(a, rows, weights, upper)
                a.rsr(t, ACCLO)
            if ends:
                requantize(a, t)
                a.s8i(t, OUT, i)
            else:
                a.s32i(t, room, 4 * i)
        if kind != "only":
            a.addi(room, room, 8)
        if ends:
            a.addi(OUT, OUT, 4)
        a.label(f"{name} {upper}")
        if not upper:  # back to the start
            a.arguments(first=t)
            for row in rows:
                a.sub(row, row, t)
            if size:
                a.addi(rows[0], rows[0], -4)
            if ends:
                a.srli(t, t, 1)
                a.sub(OUT, OUT, t)
                a.addi(OUT, OUT, 2)
    if ends:
        a.j("row summed")


def load_tile(
    a: XtensaFunction, rows: range, weights: range, t: int, starts: bool, ends: bool
) -> None:
    """Pointers and weights of the next keys into registers."""
    a.argument(t, "room" if starts else "tile")
    for i, row in enumerate(rows):
        a.l32i(row, t, 4 * i)
    if not ends:
        a.addi(t, t, 4 * TILE)
        a.keep(t, "tile")
    a.argument(t, "weights" if starts else "tile_weights")
    a.addi(t, t, -4)
    for i in range(0, len(rows), 2):  # two a word
        if i < 4:
            a.ldinc(2 + i // 2, t)
        else:
            a.l32i(weights[i // 2 - 2], t, 2 * i - 4)
    if not ends:
        a.addi(t, t, 2 * TILE - 4)
        a.keep(t, "tile_weights")


def multiply(a: XtensaFunction, rows: range, weights: range, upper: int) -> None:
    """ACC -= weight * value of each key; the first one's value is in m0, afterwards its next."""
    for i in range(len(rows)):
        following = rows[(i + 1) % len(rows)]
        load = (i + 1) % len(rows) % 2
        halves, m = (LL, HL)[upper] | (LL, LH)[i % 2], i % 2
        if len(rows) == 1:  # nothing else is in flight
            a.mula_dd(halves, 0, 2)
            a.ldinc(0, following)
        elif i < 4:
            a.mula_dd_ldinc(halves, load, following, m, 2 + i // 2)
        else:
            a.mula_da_ldinc(halves, load, following, m, weights[i // 2 - 2])


def requantize(a: XtensaFunction, x: int) -> None:
    """x = what a sum stands for: SAR and SCALE as sum_row has them."""
    a.sra(x, x)
    a.mulsh(x, x, SCALE)
    a.addi(x, x, 1)
    a.srai(x, x, 1)
    a.clamps(x, x, 7)
    a.max(x, x, LOW)
