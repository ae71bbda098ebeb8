"""Weights of one token's attention to a cache on LX6 and LX7, as decode8 and decode16 make them.

One product, whose high word is what requant rounds, scales a score: mult*2**bits / 2**shift, or
that of a shift of `bits`, and what is left of the shift is made afterwards.
"""

from ..mpy import XtensaFunction
from .common_xtensa import reciprocal

# What `numerators` uses. It wants the scores' place in N, the bytes from one to the next in STRIDE
# and the largest of them in LARGEST. Afterwards ZERO is 0, M the reciprocal of the numerators' sum,
# Y rounds a product with M, and right shifts are by what brings it down.
N, TABLE, MULT, LARGEST, END, TOTAL, X, Y, BELOW, M, T, STRIDE, P, ZERO = range(2, 16)


def factor(a: XtensaFunction, bits: int, mult: int, shift: int, t: tuple[int, int, int]) -> None:
    """Keeps what numerators are multiplied with, `factor`, and the shift behind it, `far`.

    Args:
        bits: 32, or 33 where scores stand as they are and not twice as large.
        mult, shift: registers of these arguments.
        t: other registers.
    """
    up, word, zero = t
    a.movi(word, bits)
    a.sub(up, word, shift)
    a.movi(zero, 0)
    a.max(up, up, zero)
    a.sub(word, shift, word)
    a.max(word, word, zero)
    a.keep(word, "far")
    a.ssl(up)
    a.sll(mult, mult)
    a.keep(mult, "factor")


def numerators(a: XtensaFunction) -> None:
    """Numerators in the place of the scores of a head."""
    a.arguments(far=T)
    a.movi(END, 1)
    a.slli(END, END, 19)  # from here on, twice as large, all numerators are 0
    a.arguments(table=TABLE, factor=MULT, count=P)
    a.movi(TOTAL, 0)
    a.bnez(T, "shifted")
    for name in "numerator", "shifted":
        if name == "shifted":
            a.j("numerators")
            a.label(name)
            a.arguments(far=ZERO)
        a.loopnez(P, name + " done")
        a.l32i(X, N)
        a.sub(X, LARGEST, X)
        a.muluh(X, X, MULT)
        if name == "shifted":
            a.ssr(ZERO)
            a.sra(X, X)
        a.addi(X, X, 1)  # and rounded where its bits are taken
        a.min(X, X, END)
        a.extui(M, X, 7, 8)
        a.addx2(M, M, TABLE)
        a.l16ui(Y, M, 0)
        a.l16ui(BELOW, M, 2)
        a.extui(T, X, 1, 6)
        a.srai(X, X, 15)
        a.sub(BELOW, Y, BELOW)
        a.ssr(X)
        a.mull(BELOW, BELOW, T)
        a.srai(BELOW, BELOW, 6)
        a.sub(Y, Y, BELOW)
        a.srl(Y, Y)
        a.addi(Y, Y, 1)
        a.srli(Y, Y, 1)
        a.s32i(Y, N)
        a.add(N, N, STRIDE)
        a.add(TOTAL, TOTAL, Y)
        a.label(name + " done")
    a.label("numerators")
    a.movi(ZERO, 0)
    a.movi(M, 63)
    a.slli(M, M, 24)
    reciprocal(a, P, M, TOTAL, T, ZERO)
    a.addi(P, P, 15)
    a.movi(Y, 1)
    a.ssl(P)
    a.sll(Y, Y)
    a.srli(Y, Y, 1)  # half
    a.ssr(P)
