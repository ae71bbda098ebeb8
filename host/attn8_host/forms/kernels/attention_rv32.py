"""Softmax attention on RV32IM: attn8/forms/viper/attention.py says what each kernel computes.

Keys and values are kept as int16, in the same layout as on LX6 and LX7; scores are made for eight
keys at a time, and outputs for eight columns.
"""

from ..mpy import Rv32Function
from ..rv32 import (
    A0,
    A1,
    A2,
    A3,
    A4,
    A5,
    A6,
    A7,
    RA,
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S10,
    S11,
    T2,
    T3,
    T4,
    T5,
    T6,
    ZERO,
)
from .common_rv32 import END, ROWS, SUMS, TILE, X, clear, dot, exp2, reciprocal, requantize


def round_up(a: Rv32Function, to: int, n: int) -> None:
    """to = the bytes of n int16 values, rounded up to a multiple of four values."""
    a.addi(to, n, 3)
    a.andi(to, to, -4)
    a.slli(to, to, 1)


def pack_keys(a: Rv32Function) -> None:
    """packed = k as int16 [keys, head_dim rounded up to 4]; sums are not needed."""
    k, packed, keys, head_dim, stride, to, n, t = A0, A1, A2, A3, A4, A5, A6, A7
    a.arguments(k=k, packed=packed, keys=keys, head_dim=head_dim)
    round_up(a, stride, head_dim)
    a.label("key")
    a.mv(to, packed)
    a.mv(n, head_dim)
    a.label("value")
    a.lb(t, 0, k)
    a.sh(t, 0, to)
    a.addi(k, k, 1)
    a.addi(to, to, 2)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "value")
    a.add(packed, packed, stride)
    a.addi(keys, keys, -1)
    a.bne(keys, ZERO, "key")


def pack_values(a: Rv32Function) -> None:
    """packed = int16 [head_dim, keys rounded up to 4], transposed."""
    v, packed, keys, columns, head_dim, stride = A0, A1, A2, A3, A4, A5
    source, to, n, t = A6, A7, T2, T3
    a.arguments(v=v, packed=packed, keys=keys, head_dim=head_dim)
    a.mv(columns, head_dim)
    round_up(a, stride, keys)
    a.label("column")
    a.mv(source, v)
    a.mv(to, packed)
    a.mv(n, keys)
    a.label("value")
    a.lb(t, 0, source)
    a.sh(t, 0, to)
    a.add(source, source, head_dim)
    a.addi(to, to, 2)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "value")
    a.add(packed, packed, stride)
    a.addi(v, v, 1)
    a.addi(columns, columns, -1)
    a.bne(columns, ZERO, "column")


def scores(a: Rv32Function) -> None:
    out, visible, left, stride, unrolled, q = S0, S1, S10, S11, T5, T6
    t = (T2, T3, T4)
    a.arguments(q=q, first=T2, head_dim=T3, causal=T4, keys=visible, out=out)
    round_up(a, stride, T3)
    a.mul(T3, T3, T2)
    a.add(q, q, T3)
    a.beq(T4, ZERO, "all visible")
    a.addi(visible, T2, 1)
    a.label("all visible")
    a.label("row")
    a.arguments(k=ROWS[0], head_dim=END)
    a.andi(unrolled, END, -8)
    a.add(unrolled, unrolled, q)
    a.add(END, END, q)
    a.mv(left, visible)
    for tile in (TILE, 1):
        name = f"{tile} keys"
        a.li(T2, tile)
        a.blt(left, T2, name + " done")
        a.label(name)
        a.mv(RA, ROWS[0])
        for j in range(1, tile):
            a.add(ROWS[j], ROWS[j - 1], stride)
        a.mv(X, q)
        clear(a, SUMS[:tile])
        dot(a, name, tile, a.lb, a.lh, (1, 2), unrolled, t)
        for j in range(tile):
            a.sw(SUMS[j], 4 * j, out)
        a.addi(out, out, 4 * tile)
        next_rows(a, tile, stride)
        a.addi(left, left, -tile)
        a.li(T2, tile)
        a.bge(left, T2, name)
        a.label(name + " done")
    a.arguments(keys=T2, causal=T3, rows=T4)
    a.sub(T2, T2, visible)
    a.lui(RA, 0xC0000)  # a masked score: -2**30
    a.beq(T2, ZERO, "masked")
    a.label("mask")
    a.sw(RA, 0, out)
    a.addi(out, out, 4)
    a.addi(T2, T2, -1)
    a.bne(T2, ZERO, "mask")
    a.label("masked")
    a.mv(q, END)
    a.add(visible, visible, T3)
    a.addi(T4, T4, -1)
    a.keep(T4, "rows")
    a.bne(T4, ZERO, "row")


def next_rows(a: Rv32Function, tile: int, stride: int) -> None:
    """ROWS[0] = RA + tile*stride: rows are filled up, so they do not end where the next begins."""
    a.slli(ROWS[0], stride, tile.bit_length() - 1)
    a.add(ROWS[0], ROWS[0], RA)


def mask_keys(a: Rv32Function) -> None:
    score, mask, rows, keys, masked, n, m = A0, A1, A2, A3, A4, A5, A6
    a.arguments(scores=score, rows=rows, keys=keys)
    a.lui(masked, 0xC0000)
    a.label("row")
    a.arguments(mask=mask)
    a.mv(n, keys)
    a.label("key")
    a.lbu(m, 0, mask)
    a.beq(m, ZERO, "shown")
    a.sw(masked, 0, score)
    a.label("shown")
    a.addi(mask, mask, 1)
    a.addi(score, score, 4)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "key")
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def softmax(a: Rv32Function) -> None:
    score, out, table, visible, mult, half, shift, limit = A0, A1, A2, A3, A4, A5, A6, A7
    largest, total, x, y, n, end, masked = S0, S1, S2, S3, S4, S5, S6
    a.arguments(scores=score, out=out, table=table, keys=visible, first=x, causal=y)
    a.arguments(mult=mult, shift=shift, limit=limit)
    a.beq(y, ZERO, "all visible")
    a.addi(visible, x, 1)
    a.label("all visible")
    a.li(half, 1)
    a.sll(half, half, shift)
    a.srli(half, half, 1)
    a.lui(masked, 0xC0000)
    a.label("row")
    a.slli(end, visible, 2)
    a.add(end, end, score)
    a.mv(n, score)
    a.mv(largest, masked)
    a.label("largest")
    a.lw(x, 0, n)
    a.addi(n, n, 4)
    a.bge(largest, x, "not larger")
    a.mv(largest, x)
    a.label("not larger")
    a.bne(n, end, "largest")
    a.mv(n, limit)
    a.bne(largest, masked, "some are shown")
    a.li(n, -1)  # beyond the limit all of them
    a.label("some are shown")
    a.li(total, 0)
    a.label("numerator")
    a.lw(x, 0, score)
    a.li(y, 0)
    a.sub(x, largest, x)
    a.addi(score, score, 4)
    a.blt(n, x, "far")
    a.mul(x, x, mult)
    a.add(x, x, half)
    a.sra(x, x, shift)
    exp2(a, y, x, table)
    a.label("far")
    a.sh(y, 0, out)
    a.addi(out, out, 2)
    a.add(total, total, y)
    a.bne(score, end, "numerator")
    a.arguments(sums=x, keys=n, rows=y, causal=T2)
    a.sw(total, 0, x)
    a.addi(x, x, 4)
    a.keep(x, "sums")
    a.sub(n, n, visible)
    a.add(visible, visible, T2)
    a.beq(n, ZERO, "masked")
    a.label("mask")
    a.sh(ZERO, 0, out)
    a.addi(out, out, 2)
    a.addi(score, score, 4)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "mask")
    a.label("masked")
    a.addi(y, y, -1)
    a.keep(y, "rows")
    a.bne(y, ZERO, "row")


def weighted_sum(a: Rv32Function) -> None:
    out, weights, shift, m, unrolled, left, stride = S0, S1, S10, S11, T5, T6, END
    p = T4
    a.arguments(out=out, first=T2, head_dim=T3, shift=shift, weights=weights)
    a.mul(T2, T2, T3)
    a.add(out, out, T2)
    a.addi(shift, shift, -16)
    a.label("row")
    a.arguments(sums=A0, num=m)
    a.lw(A1, 0, A0)
    a.addi(A0, A0, 4)
    a.keep(A0, "sums")
    reciprocal(a, m, p, total=A1, t=A0)
    a.keep(p, "first")  # no longer needed as an argument
    a.arguments(v=ROWS[0], head_dim=left, keys=T2)
    a.andi(unrolled, T2, -8)
    a.slli(unrolled, unrolled, 1)
    a.add(unrolled, unrolled, weights)
    for tile in (TILE, 1):
        name = f"{tile} columns"
        a.li(T2, tile)
        a.blt(left, T2, name + " done")
        a.label(name)
        a.arguments(keys=T2)
        round_up(a, stride, T2)
        a.mv(RA, ROWS[0])
        for j in range(1, tile):
            a.add(ROWS[j], ROWS[j - 1], stride)
        a.slli(T2, T2, 1)
        a.add(END, T2, weights)
        a.mv(X, weights)
        clear(a, SUMS[:tile])
        dot(a, name, tile, a.lhu, a.lh, (2, 2), unrolled, (T2, T3, T4))
        a.arguments(keys=T2, first=p)
        round_up(a, stride, T2)
        next_rows(a, tile, stride)
        a.li(T2, 127)
        a.li(T3, -127)
        for j, acc in enumerate(SUMS[:tile]):
            a.sra(acc, acc, p)
            requantize(a, f"{name} {j}", acc, m, shift, T2, T3, X)
            a.sb(acc, j, out)
        a.addi(out, out, tile)
        a.addi(left, left, -tile)
        a.li(T2, tile)
        a.bge(left, T2, name)
        a.label(name + " done")
    a.arguments(rows=T2, keys=T3)
    a.slli(T3, T3, 1)
    a.add(weights, weights, T3)
    a.addi(T2, T2, -1)
    a.keep(T2, "rows")
    a.bne(T2, ZERO, "row")
