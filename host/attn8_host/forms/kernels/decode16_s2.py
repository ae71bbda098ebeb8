"""Attention of one token to a cache of int16 on an ESP32-S2, which has no MAC16: as
decode16_xtensa, but for its products. Scores keep eight values of a query in registers while keys
go by, weighted sums have a register for each of four dimensions.
"""

from ..mpy import XtensaFunction
from . import decode16_xtensa
from .decode16_xtensa import output, put, requantize
from .decode_xtensa import LARGEST

__all__ = ["attend", "put"]
SPARE = {"attend": (*decode16_xtensa.SPARE["attend"], "column", "columns")}
EIGHT, FOUR = 8, 4


def attend(a: XtensaFunction) -> None:
    decode16_xtensa.heads(a, scores, weighted)


def scores(a: XtensaFunction) -> None:
    """Scores of a head, of its first eight dimensions at first; those of the next ones are added.
    LARGEST = the largest of them."""
    k, value, out, column, sum, size = 2, 3, 4, 6, 7, 7
    query = range(8, 16)
    a.movi(column, 0)
    a.label("column of keys")
    a.movi(LARGEST, 1)
    a.slli(LARGEST, LARGEST, 31)
    a.arguments(keys=k, q=value, row=out)
    a.addx2(k, column, k)
    a.addx2(value, column, value)
    for i, register in enumerate(query):
        a.l16si(register, value, 2 * i)
    a.arguments(count=value)
    a.loopnez(value, "key")
    a.l32i(sum, out)
    a.moveqz(sum, column, column)
    for i, register in enumerate(query):
        a.l16si(value, k, 2 * i)
        a.mull(value, value, register)
        a.add(sum, sum, value)
    a.max(LARGEST, LARGEST, sum)
    a.s32i(sum, out)
    a.addi(out, out, 4)
    a.arguments(size=size)
    a.add(k, k, size)
    a.label("key")
    a.addi(column, column, EIGHT)
    a.arguments(head_dim=value)
    a.branch("ge", column, value, "scored")
    a.j("column of keys")
    a.label("scored")


def weighted(a: XtensaFunction) -> None:
    """Four dimensions at a time in the place of q, which moves to the next head."""
    values, weights, weight, value, a0, a1, a2, a3, n, step, m, low, shift, out = range(2, 16)
    sums = a0, a1, a2, a3
    a.arguments(values=values, q=out, size=step, head_dim=weight)
    a.keep(weight, "columns")
    a.slli(step, step, 2)  # from one group of slots to the next
    output(a, m, low, shift, value)
    a.label("column of values")
    a.keep(values, "column")
    for register in sums:
        a.movi(register, 0)
    a.arguments(row=weights, count=n)
    a.addi(n, n, FOUR - 1)
    a.srli(n, n, 2)
    a.loopnez(n, "four slots")
    for j in range(FOUR):
        a.l16ui(weight, weights, 2 * j)
        for i, register in enumerate(sums):
            a.l16si(value, values, 8 * i + 2 * j)
            a.mull(value, value, weight)
            a.add(register, register, value)
    a.addi(weights, weights, 8)
    a.add(values, values, step)
    a.label("four slots")
    for i, register in enumerate(sums):
        requantize(a, register, m, low, shift, value)
        a.s16i(register, out, 2 * i)
    a.addi(out, out, 8)
    a.arguments(column=values, columns=weight)
    a.addi(values, values, 8 * FOUR)
    a.addi(weight, weight, -FOUR)
    a.keep(weight, "columns")
    a.beqz(weight, "columns done")
    a.j("column of values")
    a.label("columns done")
    a.keep(out, "q")
