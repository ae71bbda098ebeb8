"""Sums of products of three rows with four others on RV32IM: three products in two multiplications.

Values x0, x1, x2 of three rows are packed into two words, A = x0 + (x1 << 21) and
B = x2 + (x1 << 10). Sums a of A*w and b of B*w have three sums of products in them, modulo 2**32:

    a = s0 + (s1 << 21)        b = s2 + (s1 << 10)

As long as s0 and s2 have 21 bits, s0 is the low 21 bits of a, s2 those of b - ((a - s0) >> 11),
and s1 = (b - s2) >> 10. Products of int8 are at most 2**14 and at least 2**7 - 2**14, so that 63
have 21 bits, and 64 too once 1 is taken off. A product takes two loads and four times five
instructions for twelve products, 1.83 instructions.
"""

from ..mpy import Rv32Function
from ..rv32 import (
    A0,
    A1,
    A2,
    A3,
    RA,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S9,
    T0,
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    ZERO,
)
from .common_rv32 import clear, elements

# What `tile` uses. It leaves sums of products of row 0 in S_0, of row 1 in S_1 and of row 2 in S_2,
# one for each of the four rows W.
W = (A0, A1, A2, A3)
S_0, S_1, S_2 = (T2, T3, T4, T5), (S6, S7, S8, S9), (S2, S3, S4, S5)
T = T6
FREE = (T0, T1, T6, RA)  # afterwards
P, END = T0, T1
UNROLL = 8
WORDS = 8  # bytes of both words of a value
KEPT = tuple(f"sum {i}" for i in range(12))
# Words of the frame beside an argument `row`, where the packed words are: where the block at hand
# ends, its unrolled part before; where all words end; whether they are several blocks
SPARE = ("unrolled", "end", "last", "several", *KEPT)


def prepare(a: Rv32Function, n: int, most: int) -> None:
    """Once a call: n, a register, values of a row; most: of a block, 64 or less."""
    row, t, end, unrolled = T0, T1, T2, T3
    a.arguments(row=row)
    a.slli(end, n, 3)
    a.andi(unrolled, n, -UNROLL)
    a.slli(unrolled, unrolled, 3)
    a.add(end, end, row)
    a.add(unrolled, unrolled, row)
    a.keep(end, "last")
    a.keep(ZERO, "several")
    a.li(t, most)
    a.bge(t, n, "one block")
    a.keep(t, "several")
    a.addi(end, row, most * WORDS)
    a.mv(unrolled, end)
    a.label("one block")
    a.keep(end, "end")
    a.keep(unrolled, "unrolled")
    for name in KEPT:
        a.keep(ZERO, name)


def pack(a: Rv32Function, n: int) -> None:
    """Three rows of n values each, W[0] to W[2]; these pointers end behind them."""
    to, t = P, END
    a.arguments(row=to)

    def body(places: range, _: str) -> None:
        values = [*zip((S2, S5), (S3, S6), (S4, S7), places, strict=False)]
        for x0, x1, x2, i in values:
            a.lb(x1, i, W[1])
            a.lb(x0, i, W[0])
            a.lb(x2, i, W[2])
        for x0, x1, x2, i in values:
            a.slli(T, x1, 21)
            a.slli(x1, x1, 10)
            a.add(x0, x0, T)
            a.add(x1, x1, x2)
            a.sw(x0, WORDS * i, to)
            a.sw(x1, WORDS * i + 4, to)

    elements(a, "packed value", n, t, 8, {W[0]: 1, W[1]: 1, W[2]: 1, to: WORDS}, body)


def tile(a: Rv32Function, most: int) -> None:
    """Of the packed rows with four rows W; these pointers end behind them. Of 64 values a block,
    S_0 and S_2 are one too small.
    """
    a.arguments(row=P)
    a.label("block again")
    a.arguments(unrolled=END)
    a.beq(P, END, "short block")
    _products(a, 0, first=True)
    a.j("second value")
    a.label("short block")
    clear(a, S_1 + S_2)
    a.j("unrolled done")
    _between_blocks(a, most)
    a.label("eight values")
    _products(a, 0)
    a.label("second value")
    for k in range(1, UNROLL):
        _products(a, k)
    _advance(a, UNROLL)
    a.bne(P, END, "eight values")
    a.label("unrolled done")
    a.arguments(end=END)
    a.beq(P, END, "block done")
    a.label("one value")
    _products(a, 0)
    _advance(a, 1)
    a.bne(P, END, "one value")
    a.label("block done")
    for s0, s1, s2 in zip(S_0, S_1, S_2, strict=True):
        if most == 64:
            a.addi(s2, s2, -1)
            a.addi(s1, s1, -1)
        a.slli(s0, s2, 11)  # s2 is a, s1 is b
        a.slli(T, s1, 11)
        a.srai(s0, s0, 11)
        a.sub(T, T, s2)
        a.add(T, T, s0)
        a.srai(s2, T, 11)
        a.sub(s1, s1, s2)
        a.srai(s1, s1, 10)
    a.arguments(last=END, several=T)
    a.bne(P, END, "another block")
    a.bne(T, ZERO, "last of several")
    a.label("tile done")


def _products(a: Rv32Function, k: int, first: bool = False) -> None:
    """Of value k, from where the pointers stand: S_2 is a, S_1 is b."""
    word_a, word_b = T2, T3
    values = (T4, RA, T4, RA)  # each is loaded before the products of the one before
    t, u = T5, T6
    a.lw(word_a, WORDS * k, P)
    a.lw(word_b, WORDS * k + 4, P)
    for i in range(2):
        a.lb(values[i], k, W[i])
    for i in range(4):
        to_a, to_b = (S_2[i], S_1[i]) if first else (t, u)
        a.mul(to_a, word_a, values[i])
        a.mul(to_b, word_b, values[i])
        if i in (0, 1):
            a.lb(values[i + 2], k, W[i + 2])
        if not first:
            a.add(S_2[i], S_2[i], t)
            a.add(S_1[i], S_1[i], u)


def _advance(a: Rv32Function, n: int) -> None:
    for row in W:
        a.addi(row, row, n)
    a.addi(P, P, n * WORDS)


def _between_blocks(a: Rv32Function, most: int) -> None:
    """What a tile of several blocks does after each of them."""
    sums = [*zip(S_0, S_1, S_2, strict=True)]
    names = iter(KEPT)
    places = [(s, next(names), k) for each in sums for k, s in enumerate(each)]
    a.label("another block")
    for s, name, k in places:
        a.argument(T, name)
        a.add(T, T, s)
        if most == 64 and k != 1:
            a.addi(T, T, 1)
        a.keep(T, name)
    a.addi(END, P, most * WORDS)
    a.arguments(last=T)
    a.bgeu(T, END, "whole block")
    a.mv(END, T)
    a.label("whole block")
    a.keep(END, "end")
    a.sub(T, END, P)
    a.andi(T, T, -UNROLL * WORDS)
    a.add(T, T, P)
    a.keep(T, "unrolled")
    a.j("block again")
    a.label("last of several")
    for s, name, _ in places:
        a.argument(T, name)
        a.keep(ZERO, name)
        a.add(s, s, T)
    a.arguments(row=END)
    a.addi(END, END, most * WORDS)
    a.keep(END, "end")
    a.keep(END, "unrolled")
    a.j("tile done")
