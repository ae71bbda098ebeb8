"""int16 by int8 matrix product on RV32IM: attn8/forms/viper/matmul16.py says what it computes."""

from functools import partial

from ..mpy import Rv32Function
from ..rv32 import T2, T3, T4, T5, ZERO
from .common_rv32 import END, ROWS, SUMS, X, settle
from .outputs_rv32 import BIAS, HIGH, LEFT, LOW, OUT, UNROLLED, X_START, T, outputs

UNROLL = 32
SPARE = {"matmul": ("next_mult", "next_shift")}  # of the next output


def matmul(a: Rv32Function) -> None:
    a.arguments(out=OUT, most=HIGH, acc=T2)
    a.sub(LOW, ZERO, HIGH)
    a.add(OUT, OUT, T2)  # a byte for each output before, or two, or four
    a.li(T3, 127)
    a.blt(T3, HIGH, "to int16")
    a.bne(HIGH, ZERO, "any format")
    a.add(OUT, OUT, T2)
    a.add(OUT, OUT, T2)
    a.label("to int16")
    a.add(OUT, OUT, T2)
    a.label("any format")
    a.arguments(paired=T2)
    a.beq(T2, ZERO, "in rows")
    rows(a, "row of pairs", UNROLL // 2, paired=True)
    a.j("all rows")
    a.place_seldom()
    a.label("in rows")
    rows(a, "row", UNROLL)
    a.label("all rows")


def rows(a: Rv32Function, row: str, unroll: int, paired: bool = False) -> None:
    """All rows of x; `row` is a prefix for labels, `unroll` and `paired` as `outputs` has them."""
    a.label(row)
    round_row(a, row)
    if paired:
        sum_row(a, row)
    a.arguments(w=ROWS[0], outputs=LEFT, bias=BIAS, inputs=END, mult=T2, shift=T3, acc=T4)
    a.add(T3, T3, T4)
    a.slli(T4, T4, 1)
    a.add(T2, T2, T4)
    a.keep(T2, "next_mult")
    a.keep(T3, "next_shift")
    a.andi(UNROLLED, END, -unroll)
    for end in UNROLLED, END:
        a.slli(end, end, 1)
        a.add(end, end, X_START)
    outputs(a, a.lh, 2, partial(results, a), unroll, paired, False)
    a.arguments(x=X_START, inputs=T2, rows=T3)
    a.slli(T2, T2, 1)
    a.add(X_START, X_START, T2)
    a.keep(X_START, "x")
    a.addi(T3, T3, -1)
    a.keep(T3, "rows")
    a.bne(T3, ZERO, row)


def round_row(a: Rv32Function, name: str) -> None:
    """X_START = x' of a row: x itself where nothing goes down. `row` begins with a word for pairs.
    """
    to, half, down = T2, T3, T4
    a.arguments(x=X, inputs=END, down=down, acc=T5)
    a.mv(X_START, X)
    a.beq(down, ZERO, name + " as it is")
    a.arguments(row=X_START)
    a.addi(X_START, X_START, 4)
    a.bne(T5, ZERO, name + " as it is")  # rounded before
    a.mv(to, X_START)
    a.li(half, 1)
    a.sll(half, half, down)
    a.srli(half, half, 1)
    a.slli(END, END, 1)
    a.add(END, END, X)
    a.label(name + " rounded")
    a.lh(T5, 0, X)
    a.add(T5, T5, half)
    a.sra(T5, T5, down)
    a.sh(T5, 0, to)
    a.addi(X, X, 2)
    a.addi(to, to, 2)
    a.bne(X, END, name + " rounded")
    a.label(name + " as it is")


def sum_row(a: Rv32Function, name: str) -> None:
    """128 * sum(x') to the word at `row`: even rows of pairs are 128 more than they are."""
    total, values = SUMS[0], ROWS[:4]  # inputs are whole fours
    a.arguments(inputs=END, acc=T2, row=T3)
    a.bne(T2, ZERO, name + " summed")
    a.mv(X, X_START)
    a.slli(END, END, 1)
    a.add(END, END, X)
    a.li(total, 0)
    a.label(name + " next four")
    for place, value in enumerate(values):
        a.lh(value, 2 * place, X)
    a.addi(X, X, 2 * len(values))
    for value in values:
        a.add(total, total, value)
    a.bne(X, END, name + " next four")
    a.slli(total, total, 7)
    a.sw(total, 0, T3)
    a.label(name + " summed")


def results(a: Rv32Function, name: str, tile: int) -> None:
    """int32, where `most` is 0, int8 or int16."""
    a.bne(HIGH, ZERO, name + " requantized")
    for j, acc in enumerate(SUMS[:tile]):
        a.sw(acc, 4 * j, OUT)
    a.addi(OUT, OUT, 4 * tile)
    a.j(name + " next")
    a.label(name + " requantized")
    mults, shifts = X, ROWS[1]
    a.arguments(next_mult=mults, next_shift=shifts)
    for j, acc in enumerate(SUMS[:tile]):
        mult, shift, _ = T
        a.lhu(mult, 2 * j, mults)
        a.lbu(shift, j, shifts)
        a.slli(mult, mult, 17)
        a.addi(shift, shift, -16)
        settle(a, f"{name} {j}", acc, mult, shift, HIGH, LOW)
    a.addi(mults, mults, 2 * tile)
    a.addi(shifts, shifts, tile)
    a.keep(mults, "next_mult")
    a.keep(shifts, "next_shift")
    a.li(T2, 127)
    a.bge(T2, HIGH, name + " int8")
    for j, acc in enumerate(SUMS[:tile]):
        a.sh(acc, 2 * j, OUT)
    a.addi(OUT, OUT, 2 * tile)
    a.j(name + " next")
    a.label(name + " int8")
    for j, acc in enumerate(SUMS[:tile]):
        a.sb(acc, j, OUT)
    a.addi(OUT, OUT, tile)
    a.label(name + " next")
