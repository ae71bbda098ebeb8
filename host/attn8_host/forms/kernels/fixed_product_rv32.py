"""Products of training's fixed point on RV32IM: attn8/forms/viper/fixed_product.py says what they
compute. Two rows of a and two of b share their loads: three instructions a product, and a quarter
for every eight of them.
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
    T4,
    T5,
    T6,
    ZERO,
)
from .common_rv32 import clear, elements

SPARE = {"matmul": ("shift", "shift 0", "shift 1", "limit", "add")}
GROUP = 8  # products that are summed before the guard bits go


def pack(a: Rv32Function) -> None:
    x, m, exponents, rows, inner, row_stride, step = A0, A1, A2, A3, A4, A5, A6
    at, t, largest, most, e, half = A7, S0, S1, S2, S3, S4
    a.arguments(x=x, m=m, exponents=exponents, rows=rows, inner=inner, row_stride=row_stride)
    a.arguments(step=step, offset=t)
    for words in (t, row_stride, step):
        a.slli(words, words, 2)
    a.add(x, x, t)
    a.lui(most, 4)
    a.addi(most, most, -2)

    def compare(places: range, name: str) -> None:
        values = [*zip((T0, T2), (T1, T3), places, strict=False)]
        for v, _, _ in values:
            a.lw(v, 0, at)
            a.add(at, at, step)
        for v, sign, _ in values:
            a.srai(sign, v, 31)
            a.xor(v, v, sign)
        for v, _, i in values:
            a.bge(largest, v, f"{name} {i} not larger")
            a.mv(largest, v)
            a.label(f"{name} {i} not larger")

    def shift(places: range, _: str) -> None:
        values = [*zip((T0, T2), places, strict=False)]
        for v, _i in values:
            a.lw(v, 0, at)
            a.add(at, at, step)
        for v, _i in values:
            a.add(v, v, half)
            a.sra(v, v, e)
        for v, i in values:
            a.sw(v, 4 * i, m)

    a.label("row")
    a.mv(at, x)
    a.li(largest, 0)
    elements(a, "value", inner, t, 8, {}, compare)
    a.li(e, -1)
    a.label("too large")
    a.addi(e, e, 1)
    a.sra(t, largest, e)
    a.blt(most, t, "too large")
    a.sb(e, 0, exponents)
    a.addi(exponents, exponents, 1)
    a.li(half, 1)
    a.sll(half, half, e)
    a.srli(half, half, 1)
    a.mv(at, x)
    elements(a, "packed", inner, t, 8, {m: 4}, shift)
    a.add(x, x, row_stride)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


LEFT, RIGHT = (A0, A1), (A2, A3)
SUMS, TOTALS = ((S2, S3), (S4, S5)), ((S6, S7), (S8, S9))  # [row][column]
GUARD, INNER, TARGET, ROWS = S0, S1, S10, S11
ROW_STRIDE, STEP, LEFT_EXPONENTS, RIGHT_EXPONENTS = A4, A5, A6, A7
EXPONENT, LIMIT, LOW, ADD = T0, T4, T5, T3  # of results; T0 is where products end


def matmul(a: Rv32Function) -> None:
    t, u, end = T2, T3, T0
    a.arguments(shape=RA, out=TARGET, offset=t, b=RIGHT[0], b_exponents=RIGHT_EXPONENTS)
    a.slli(t, t, 2)
    a.add(TARGET, TARGET, t)
    a.keep(TARGET, "out")
    for i, register in ((1, INNER), (2, ROW_STRIDE), (3, STEP)):
        a.lw(register, 4 * i, RA)
        a.slli(register, register, 2)
    a.lw(GUARD, 16, RA)
    a.lw(t, 20, RA)
    a.sub(t, t, GUARD)
    a.keep(t, "shift")
    for i, name in ((6, "limit"), (7, "add")):
        a.lw(t, 4 * i, RA)
        a.keep(t, name)
    a.label("columns")
    a.arguments(cols=t, a=LEFT[0], a_exponents=LEFT_EXPONENTS, out=TARGET, shape=u)
    a.lw(ROWS, 0, u)
    a.addi(t, t, -2)
    a.keep(t, "cols")
    a.arguments(shift=u)
    for column in range(2):
        a.lbu(t, column, RIGHT_EXPONENTS)
        a.sub(t, u, t)
        a.keep(t, f"shift {column}")
    a.arguments(cols=t)
    a.mv(RIGHT[1], RIGHT[0])
    a.blt(t, ZERO, "rows")  # of one column: it stands for two
    a.add(RIGHT[1], RIGHT[0], INNER)
    a.label("rows")
    a.addi(ROWS, ROWS, -2)
    a.mv(LEFT[1], LEFT[0])
    a.blt(ROWS, ZERO, "one row")
    a.add(LEFT[1], LEFT[0], INNER)
    a.label("one row")
    clear(a, TOTALS[0] + TOTALS[1])
    a.andi(end, INNER, -4 * GROUP)
    a.add(end, end, LEFT[0])
    a.beq(LEFT[0], end, "groups done")
    a.label("group")
    for k in range(GROUP):
        products(a, k, first=not k)
    take(a, GROUP)
    a.bne(LEFT[0], end, "group")
    a.label("groups done")
    a.andi(t, INNER, 4 * (GROUP - 1))
    a.add(end, end, t)
    a.beq(LEFT[0], end, "products done")
    clear(a, SUMS[0] + SUMS[1])
    a.label("one")
    products(a, 0)
    for pointer in LEFT + RIGHT:
        a.addi(pointer, pointer, 4)
    a.bne(LEFT[0], end, "one")
    take(a, 0)
    a.label("products done")
    a.arguments(limit=LIMIT, add=ADD)
    a.sub(LOW, ZERO, LIMIT)
    for row in range(2):
        a.lbu(EXPONENT, row, LEFT_EXPONENTS)
        for column in range(2):
            if column:
                a.arguments(cols=t)
                a.blt(t, ZERO, f"row {row} done")
            result(a, row, column)
        a.label(f"row {row} done")
        a.add(TARGET, TARGET, ROW_STRIDE)
        if not row:
            a.blt(ROWS, ZERO, "next rows")
    a.label("next rows")
    for pointer in RIGHT:
        a.sub(pointer, pointer, INNER)
    a.mv(LEFT[0], LEFT[1])
    a.addi(LEFT_EXPONENTS, LEFT_EXPONENTS, 2)
    a.blt(ZERO, ROWS, "rows")
    a.arguments(out=TARGET, cols=t)
    a.slli(u, STEP, 1)
    a.add(TARGET, TARGET, u)
    a.keep(TARGET, "out")
    a.add(RIGHT[0], RIGHT[1], INNER)
    a.addi(RIGHT_EXPONENTS, RIGHT_EXPONENTS, 2)
    a.blt(ZERO, t, "columns")
    a.j("done")
    for row in range(2):
        for column in range(2):
            seldom(a, row, column)
    a.label("done")


def products(a: Rv32Function, k: int, first: bool = False) -> None:
    """Of value k of two rows and two columns."""
    of_rows, of_columns, product = (T2, T3), (T4, T5), (T1, T6)
    for i in range(2):
        a.lw(of_rows[i], 4 * k, LEFT[i])
        a.lw(of_columns[i], 4 * k, RIGHT[i])
    for row in range(2):
        for column in range(2):
            to = SUMS[row][column] if first else product[column]
            a.mul(to, of_rows[row], of_columns[column])
        if not first:
            for column in range(2):
                a.add(SUMS[row][column], SUMS[row][column], product[column])


def take(a: Rv32Function, moved: int) -> None:
    """Sums, without their guard bits, go to the totals; pointers move by so many values."""
    for row in range(2):
        for column in range(2):
            a.sra(SUMS[row][column], SUMS[row][column], GUARD)
            a.add(TOTALS[row][column], TOTALS[row][column], SUMS[row][column])
    if moved:
        for pointer in LEFT + RIGHT:
            a.addi(pointer, pointer, 4 * moved)


def result(a: Rv32Function, row: int, column: int) -> None:
    """A total becomes a word of the format, at TARGET or a step behind it."""
    name, total, place = f"{row}, {column}", TOTALS[row][column], (TARGET, RA)[column]
    shift = T2
    a.argument(shift, f"shift {column}")
    a.sub(shift, shift, EXPONENT)
    if column:
        a.add(place, TARGET, STEP)
    a.bge(ZERO, shift, name + " to the left")
    a.addi(shift, shift, -1)
    a.sra(total, total, shift)
    a.addi(total, total, 1)
    a.srai(total, total, 1)
    a.label(name + " shifted")
    a.bne(ADD, ZERO, name + " onto")
    a.label(name + " added")
    a.blt(LIMIT, total, name + " too high")
    a.blt(total, LOW, name + " too low")
    a.label(name + " within")
    a.sw(total, 0, place)


def seldom(a: Rv32Function, row: int, column: int) -> None:
    """What `result` goes to where words saturate, are added, or shifted to the left."""
    name, total, place = f"{row}, {column}", TOTALS[row][column], (TARGET, RA)[column]
    shift, most = T2, T6

    def count() -> None:
        a.arguments(count=T1)
        a.lw(most, 0, T1)
        a.addi(most, most, 1)
        a.sw(most, 0, T1)

    a.label(name + " to the left")
    a.sub(shift, ZERO, shift)
    a.sra(most, LIMIT, shift)
    a.blt(most, total, name + " far too high")
    a.sub(most, ZERO, most)
    a.blt(total, most, name + " far too low")
    a.sll(total, total, shift)
    a.j(name + " shifted")
    a.label(name + " onto")
    a.lw(T1, 0, place)
    a.add(total, total, T1)
    a.j(name + " added")
    for far, then in (("far ", " shifted"), ("", " within")):
        for side, bound in (("high", LIMIT), ("low", LOW)):
            a.label(f"{name} {far}too {side}")
            a.mv(total, bound)
            count()
            a.j(name + then)
