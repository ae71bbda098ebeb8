"""Attention of one token to a cache of int8 on RV32IM: attn8/forms/viper/decode8.py says what it
computes.

Eight dimensions at a time: scores keep eight values of a query in registers while keys go by, and
weighted sums have a register for each.
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
    S7,
    S8,
    S9,
    S10,
    S11,
    T0,
    T1,
    T2,
    T3,
    ZERO,
)
from .common_rv32 import requantize

SPARE = {"scores": ("left", "column"), "weighted": ("left", "column")}
EIGHT = (S2, S3, S4, S5, S6, S7, S8, S9)
STEPS, N, X, OUT, COUNT, SIZE, KV, ACC, T, U = A0, A1, A2, A3, A4, A5, A6, A7, T0, T1
ROW, LEFT, M, SHIFT, LOW, HIGH = S0, S1, S10, S11, RA, T2


def scores(a: Rv32Function) -> None:
    """Of the first eight dimensions at first; those of the next ones are added."""
    a.arguments(count=COUNT, kv_heads=KV, head_dim=T, q=X, out=OUT)
    a.mul(SIZE, KV, T)
    a.label("keys")
    share(a)
    a.label("head")
    a.li(T, 0)
    a.keep(T, "column")
    a.label("column")
    a.arguments(keys=ROW)
    a.add(ROW, ROW, T)
    for i, value in enumerate(EIGHT):
        a.lh(value, 2 * i, X)
    a.addi(X, X, 16)
    a.arguments(head_dim=U)
    a.addi(T, T, 8)
    a.keep(T, "column")
    a.mv(N, COUNT)
    a.arguments(steps=STEPS)
    a.mv(LEFT, OUT)
    a.addi(T3, T, -8)
    a.label("key")
    a.li(ACC, 0)
    a.beq(T3, ZERO, "first")
    a.lw(ACC, 0, LEFT)
    a.label("first")
    for i, value in enumerate(EIGHT):
        a.lb(M, i, ROW)
        a.mul(M, M, value)
        a.add(ACC, ACC, M)
    a.blt(T, U, "not whole")
    a.lbu(M, 0, STEPS)
    a.mul(ACC, ACC, M)
    a.label("not whole")
    a.sw(ACC, 0, LEFT)
    a.add(ROW, ROW, SIZE)
    a.add(STEPS, STEPS, KV)
    a.addi(LEFT, LEFT, 4)
    a.addi(N, N, -1)
    a.bne(N, ZERO, "key")
    a.blt(T, U, "column")
    a.mv(OUT, LEFT)
    a.arguments(left=LEFT)
    a.addi(LEFT, LEFT, -1)
    a.keep(LEFT, "left")
    a.bne(LEFT, ZERO, "head")
    next_head(a, "keys")


def share(a: Rv32Function) -> None:
    """left = heads of queries to one of keys and values."""
    a.arguments(heads=T)
    a.divu(T, T, KV)
    a.keep(T, "left")


def next_head(a: Rv32Function, label: str) -> None:
    """Back to the label with the next head of keys or values, and of steps; `acc`, which is 0 at
    first, counts them. The label is the argument's name."""
    a.arguments(**{label: T}, head_dim=U)
    a.add(T, T, U)
    a.keep(T, label)
    a.arguments(steps=T, acc=U)
    a.addi(T, T, 1)
    a.keep(T, "steps")
    a.addi(U, U, 1)
    a.keep(U, "acc")
    a.bne(U, KV, label)


def weighted(a: Rv32Function) -> None:
    a.arguments(count=COUNT, kv_heads=KV, head_dim=T, out=OUT, shift=SHIFT)
    a.mul(SIZE, KV, T)
    a.addi(SHIFT, SHIFT, -16)
    a.lui(HIGH, 8)
    a.addi(HIGH, HIGH, -1)
    a.sub(LOW, ZERO, HIGH)
    a.label("values")
    share(a)
    a.label("head")
    # weights times steps
    a.arguments(weights=X, steps=STEPS)
    a.mv(N, COUNT)
    a.label("product")
    a.lw(T, 0, X)
    a.lbu(U, 0, STEPS)
    a.mul(T, T, U)
    a.sw(T, 0, X)
    a.addi(X, X, 4)
    a.add(STEPS, STEPS, KV)
    a.addi(N, N, -1)
    a.bne(N, ZERO, "product")
    # the sum's reciprocal
    a.arguments(sums=T, num=M)
    a.lw(U, 0, T)
    a.addi(T, T, 4)
    a.keep(T, "sums")
    a.srli(T, U, 1)
    a.add(M, M, T)
    a.divu(M, M, U)
    a.li(T, 0)
    a.keep(T, "column")
    a.label("column")
    a.arguments(values=ROW, weights=X)
    a.add(ROW, ROW, T)
    for acc in EIGHT:
        a.li(acc, 0)
    a.mv(N, COUNT)
    a.label("slot")
    a.lw(ACC, 0, X)
    for i, acc in enumerate(EIGHT):
        a.lb(T, i, ROW)
        a.mul(T, T, ACC)
        a.add(acc, acc, T)
    a.addi(X, X, 4)
    a.add(ROW, ROW, SIZE)
    a.addi(N, N, -1)
    a.bne(N, ZERO, "slot")
    for i, acc in enumerate(EIGHT):
        requantize(a, f"dimension {i}", acc, M, SHIFT, HIGH, LOW, T)
        a.sh(acc, 2 * i, OUT)
    a.addi(OUT, OUT, 16)
    a.arguments(column=T, head_dim=U)
    a.addi(T, T, 8)
    a.keep(T, "column")
    a.blt(T, U, "column")
    a.keep(X, "weights")  # which stand behind this head's
    a.arguments(left=LEFT)
    a.addi(LEFT, LEFT, -1)
    a.keep(LEFT, "left")
    a.bne(LEFT, ZERO, "head")
    next_head(a, "values")
