"""Attention over listed pairs on RV32IM; `attend_rows` does, row after row, what
attn8/forms/viper/sparse.py does in scores, softmax and weighted_sum.

Keys and values stay int8. Sixteen dimensions are held in registers while the pairs of a row go by,
or 8, 4 or 1 where fewer are left. In `room` are the scores of a row.
"""

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T0, T1, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import ROWS, SUMS, clamp, exp2, reciprocal

HELD = (*ROWS, *SUMS)
TILES = (16, 8, 4, 1)
SPARE = {"attend_rows": ("values",)}  # words of its frame beside the arguments


def list_spans(a: Rv32Function) -> None:
    pairs, spans, counts, offsets, rows, n, key, end = ROWS
    begin, t = S0, S1
    a.arguments(pairs=pairs, spans=spans, counts=counts, offsets=offsets, first=t, rows=rows)
    a.slli(t, t, 1)
    a.add(offsets, offsets, t)
    a.lhu(t, 0, offsets)
    a.slli(t, t, 2)
    a.add(spans, spans, t)
    a.label("row")
    a.lhu(n, 2, offsets)
    a.lhu(t, 0, offsets)
    a.addi(offsets, offsets, 2)
    a.mv(begin, pairs)
    a.sub(n, n, t)
    a.beq(n, ZERO, "counted")
    a.label("span")
    a.lhu(key, 0, spans)
    a.lhu(end, 2, spans)
    a.addi(spans, spans, 4)
    a.label("key")
    a.sh(key, 0, pairs)
    a.addi(pairs, pairs, 4)
    a.addi(key, key, 1)
    a.bne(key, end, "key")
    a.addi(n, n, -1)
    a.bne(n, ZERO, "span")
    a.label("counted")
    count(a, pairs, begin, counts)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def count(a: Rv32Function, pairs: int, begin: int, counts: int) -> None:
    """counts[0] = pairs since `begin`; moves counts on."""
    a.sub(begin, pairs, begin)
    a.srli(begin, begin, 2)
    a.sh(begin, 0, counts)
    a.addi(counts, counts, 2)


def list_bits(a: Rv32Function) -> None:
    pairs, bits, counts, rows, stride, end, key, b = ROWS
    begin, t = S0, S1
    a.arguments(pairs=pairs, bits=bits, counts=counts, first=t, rows=rows, stride=stride)
    a.mul(t, t, stride)
    a.add(bits, bits, t)
    a.label("row")
    a.li(key, 0)
    a.add(end, bits, stride)
    a.mv(begin, pairs)
    a.label("byte")
    a.lbu(b, 0, bits)
    a.addi(bits, bits, 1)
    a.beq(b, ZERO, "next")
    for half in (0, 4):
        a.andi(t, b, 15 << half)
        a.beq(t, ZERO, f"no bit of {half}")
        for i in range(half, half + 4):
            a.andi(t, b, 1 << i)
            a.beq(t, ZERO, f"no bit {i}")
            a.addi(t, key, i)
            a.sh(t, 0, pairs)
            a.addi(pairs, pairs, 4)
            a.label(f"no bit {i}")
        a.label(f"no bit of {half}")
    a.label("next")
    a.addi(key, key, 8)
    a.bne(bits, end, "byte")
    count(a, pairs, begin, counts)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def pack(a: Rv32Function) -> None:
    """packed = k, and v behind it."""
    source, to, size, t = ROWS[0], ROWS[1], ROWS[2], T0
    a.arguments(packed=to, keys=size, head_dim=t)
    a.mul(size, size, t)
    for x in ("k", "v"):
        a.argument(source, x)
        move(a, x, source, to, size)


def move(a: Rv32Function, name: str, source: int, to: int, size: int) -> None:
    """`size` bytes, in words where both places allow; both pointers end behind them."""
    words, *held = ROWS[3:]
    end, t = T0, T1
    a.or_(t, source, to)
    a.andi(t, t, 3)
    a.mv(words, source)
    a.add(end, source, size)
    a.bne(t, ZERO, name + " unaligned")
    a.andi(words, size, -4 * len(held))
    a.add(words, words, source)
    a.label(name + " unaligned")
    a.beq(source, words, name + " rest")
    a.label(name + " words")
    for i, word in enumerate(held):
        a.lw(word, 4 * i, source)
    for i, word in enumerate(held):
        a.sw(word, 4 * i, to)
    a.addi(source, source, 4 * len(held))
    a.addi(to, to, 4 * len(held))
    a.bne(source, words, name + " words")
    a.label(name + " rest")
    a.beq(source, end, name + " moved")
    a.label(name + " byte")
    a.lbu(t, 0, source)
    a.addi(source, source, 1)
    a.sb(t, 0, to)
    a.addi(to, to, 1)
    a.bne(source, end, name + " byte")
    a.label(name + " moved")


# Kept from one step to the next: where a row's pairs end, its largest score, the sum of its weights
PAIRS_END, LARGEST, TOTAL, HEAD_DIM = T3, S11, T4, T6


def attend_rows(a: Rv32Function) -> None:
    t, x = T0, T1
    a.arguments(first=t, head_dim=HEAD_DIM)
    a.mul(t, t, HEAD_DIM)
    for name in ("q", "out"):
        a.argument(x, name)
        a.add(x, x, t)
        a.keep(x, name)
    a.arguments(keys=t, packed=x)
    a.mul(t, t, HEAD_DIM)
    a.add(x, x, t)
    a.keep(x, "values")
    a.label("row")
    score_row(a)
    weigh_row(a)
    sum_row(a)
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.bne(t, ZERO, "row")


def score_row(a: Rv32Function) -> None:
    """The sums so far are in `room`; `so_far` is 0 for the first dimensions, then -1."""
    acc, t, pair, out, row = T0, T1, T2, T4, T5
    k, q, left, so_far = S0, S1, S10, RA
    a.arguments(q=q, packed=k, pairs=pair, counts=t)
    a.lhu(PAIRS_END, 0, t)
    a.addi(t, t, 2)
    a.keep(t, "counts")
    a.slli(PAIRS_END, PAIRS_END, 2)
    a.add(PAIRS_END, PAIRS_END, pair)
    a.mv(left, HEAD_DIM)
    a.li(so_far, 0)
    for size in TILES:
        name = f"{size} dimensions"
        a.label(name)
        a.addi(left, left, -size)
        a.blt(left, ZERO, name + " done")
        for i, held in enumerate(HELD[:size]):
            a.lb(held, i, q)
        a.addi(q, q, size)
        a.arguments(pairs=pair, room=out)
        a.lui(LARGEST, 0x80000)
        a.beq(pair, PAIRS_END, name + " listed")
        a.label(name + " pair")
        a.lhu(row, 0, pair)
        a.lw(acc, 0, out)
        a.mul(row, row, HEAD_DIM)
        a.addi(pair, pair, 4)
        a.and_(acc, acc, so_far)
        a.add(row, row, k)
        for i, held in enumerate(HELD[:size]):
            a.lb(t, i, row)
            a.mul(t, t, held)
            a.add(acc, acc, t)
        a.sw(acc, 0, out)
        a.addi(out, out, 4)
        a.bge(LARGEST, acc, name + " not larger")
        a.mv(LARGEST, acc)
        a.label(name + " not larger")
        a.bne(pair, PAIRS_END, name + " pair")
        a.label(name + " listed")
        a.addi(k, k, size)
        a.li(so_far, -1)
        a.j(name)
        a.label(name + " done")
        a.addi(left, left, size)
    a.keep(q, "q")


def weigh_row(a: Rv32Function) -> None:
    """The softmax numerators of a row, beside the keys in `pairs`."""
    score, pair, table, mult, shift, base, least, x = ROWS
    y = SUMS[0]
    a.arguments(room=score, pairs=pair, table=table, mult=mult, shift=shift, limit=least)
    a.li(x, 1)
    a.sll(x, x, shift)
    a.srli(x, x, 1)
    a.mul(base, LARGEST, mult)
    a.add(base, base, x)  # the largest and a half, modulo 2**32
    a.sub(least, LARGEST, least)
    a.li(TOTAL, 0)
    a.beq(pair, PAIRS_END, "weighed")
    a.label("numerator")
    a.lw(x, 0, score)
    a.addi(score, score, 4)
    a.li(y, 0)
    a.blt(x, least, "far")
    a.mul(x, x, mult)
    a.sub(x, base, x)
    a.sra(x, x, shift)
    exp2(a, y, x, table)
    a.label("far")
    a.sh(y, 2, pair)
    a.addi(pair, pair, 4)
    a.add(TOTAL, TOTAL, y)
    a.bne(pair, PAIRS_END, "numerator")
    a.label("weighed")


def sum_row(a: Rv32Function) -> None:
    weight, t, pair, out, row = T0, T1, T2, T4, T5
    v, left, m, p, low, high = S0, S1, S10, S11, RA, T0
    a.arguments(num=m)
    reciprocal(a, m, p, TOTAL, t)
    a.arguments(out_shift=t, values=v, out=out)
    a.li(left, 33)
    a.sub(t, left, t)
    a.sll(m, m, t)  # so that the high word of a product is shifted by one bit
    a.li(low, -127)
    a.mv(left, HEAD_DIM)
    for size in TILES:
        name = f"{size} columns"
        a.label(name)
        a.addi(left, left, -size)
        a.blt(left, ZERO, name + " done")
        a.arguments(pairs=pair)
        for held in HELD[:size]:
            a.li(held, 0)
        a.beq(pair, PAIRS_END, name + " listed")
        a.label(name + " pair")
        a.lhu(weight, 2, pair)
        a.lhu(row, 0, pair)
        a.addi(pair, pair, 4)
        a.beq(weight, ZERO, name + " next")
        a.mul(row, row, HEAD_DIM)
        a.add(row, row, v)
        for i, held in enumerate(HELD[:size]):
            a.lb(t, i, row)
            a.mul(t, t, weight)
            a.add(held, held, t)
        a.label(name + " next")
        a.bne(pair, PAIRS_END, name + " pair")
        a.label(name + " listed")
        a.li(high, 127)
        for i, held in enumerate(HELD[:size]):
            a.sra(held, held, p)
            a.mulh(held, held, m)
            a.addi(held, held, 1)
            a.srai(held, held, 1)
            clamp(a, f"{name} {i}", held, high, low)
            a.sb(held, i, out)
        a.addi(out, out, size)
        a.addi(v, v, size)
        a.j(name)
        a.label(name + " done")
        a.addi(left, left, size)
    a.keep(PAIRS_END, "pairs")
    a.keep(out, "out")
