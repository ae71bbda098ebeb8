"""Products of training's fixed point on RV32IM: attn8/forms/viper/fixed_product.py says what they
compute. Two rows of a and two of b share their loads: three instructions a product. In `room` the
rows of such a pair lie by turns, value by value, as int16 behind their exponents.
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

SPARE = {"matmul": ("rows", "cols", "block", "group", "right", "column", "row_stride", "step",
                    "guard", "shift", "add", "groups", "rest", "limit", "start")}
GROUP = 8  # products that are summed before the guard bits go
# Places of the words of `shape`, in bytes
ROWS, INNER, ROW_STRIDE, STEP, GUARD, FRAC, LIMIT, ADD, COLS, LEFT_STRIDES, RIGHT_STRIDES = (
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 44)
BLOCK, COLUMNS = 52, 56


def matmul(a: Rv32Function) -> None:
    t, u, shape = A0, A1, A2

    def least(name: str, other: int) -> None:
        """t = the lower of an argument and of a word of `shape`"""
        a.arguments(shape=shape, **{name: t})
        a.lw(u, other, shape)
        a.blt(t, u, f"less {name}")
        a.mv(t, u)
        a.label(f"less {name}")

    begin(a)
    a.label("block")
    least("rows", BLOCK)
    a.keep(t, "block")
    for source, to in (("b_offset", "column"), ("offset", "out")):
        a.argument(t, source)
        a.keep(t, to)
    a.lw(t, COLS, shape)
    a.keep(t, "cols")
    a.label("group")
    least("cols", COLUMNS)
    a.keep(t, "group")
    pack(a)
    multiply(a)
    a.arguments(cols=t, group=u)
    a.sub(t, t, u)
    a.keep(t, "cols")
    a.bne(t, ZERO, "group")
    a.keep(ZERO, "again")
    a.arguments(rows=t, block=u)
    a.sub(t, t, u)
    a.keep(t, "rows")
    a.arguments(row_stride=shape)
    a.mul(u, u, shape)
    a.argument(shape, "offset")
    a.add(u, u, shape)
    a.keep(u, "offset")
    a.bne(t, ZERO, "block")


def begin(a: Rv32Function) -> None:
    """Offsets become addresses, strides of results bytes; what does not change is kept."""
    shape, t, u, v = A0, A1, A2, A3
    a.arguments(shape=shape)
    for array, offset in (("a", "a_offset"), ("b", "b_offset"), ("out", "offset")):
        a.argument(t, array)
        a.argument(u, offset)
        a.slli(u, u, 2)
        a.add(t, t, u)
        a.keep(t, offset)
    for place, name in ((ROW_STRIDE, "row_stride"), (STEP, "step")):
        a.lw(t, place, shape)
        a.slli(t, t, 2)
        a.keep(t, name)
    for place, name in ((ROWS, "rows"), (GUARD, "guard"), (ADD, "add"), (LIMIT, "limit")):
        a.lw(t, place, shape)
        a.keep(t, name)
    a.arguments(guard=u)
    a.lw(t, FRAC, shape)
    a.sub(t, t, u)
    a.addi(t, t, -1)
    a.keep(t, "shift")  # without the last bit, which rounds
    a.lw(u, INNER, shape)
    a.srli(t, u, 3)
    a.keep(t, "groups")
    a.andi(t, u, GROUP - 1)
    a.keep(t, "rest")
    a.lw(t, BLOCK, shape)
    for words in (t, u):
        a.addi(words, words, 1)
        a.srli(words, words, 1)
    a.addi(u, u, 1)
    a.mul(t, t, u)
    a.slli(t, t, 3)
    a.arguments(room=v)
    a.add(t, t, v)
    a.keep(t, "right")


def pack(a: Rv32Function) -> None:
    """Rows of b, and of a before, where they are not there yet."""
    x, m, rows, inner, row_stride, step, at, most = A0, A1, A2, A3, A4, A5, A6, A7
    next_row, pair, to, largest, e, half, t, left = S0, S1, S2, S3, S4, S5, S6, S7
    # Of a row of 8 or 16, which are loaded once; the last one takes the pointer's place
    values = (T0, T1, T2, T3, T4, T5, T6, S8, S9, S10, S11, RA, left, to, row_stride, at)

    def compare(found: tuple[int, ...], name: str) -> None:
        for v in found:
            a.lw(v, 0, at)
            if v != at:
                a.add(at, at, step)
        for i, v in enumerate(found):
            a.srai(t, v, 31)
            a.xor(t, t, v)
            a.bge(largest, t, f"{name} {i} not larger")
            a.mv(largest, t)
            a.label(f"{name} {i} not larger")

    def shift(found: tuple[int, ...], to: int) -> None:
        for v in found:
            a.add(v, v, half)
        for v in found:
            a.sra(v, v, e)
        for i, v in enumerate(found):
            a.sh(v, 4 + 4 * i, to)

    def load_and_shift(places: range, _: str) -> None:
        found = values[: len(places)]
        for v in found:
            a.lw(v, 0, at)
            a.add(at, at, step)
        for v, i in zip(found, places, strict=True):
            a.add(v, v, half)
            a.sra(v, v, e)
            a.sh(v, 4 + 4 * i, to)

    def exponent() -> None:
        """From that of the row before"""
        a.label("more")
        a.sra(t, largest, e)
        a.blt(most, t, "one more")
        a.label("less")
        a.beq(e, ZERO, "exponent")
        a.addi(half, e, -1)
        a.sra(t, largest, half)
        a.blt(most, t, "exponent")
        a.mv(e, half)
        a.j("less")
        a.label("one more")
        a.addi(e, e, 1)
        a.j("more")
        a.label("exponent")
        a.sh(e, 0, m)
        a.li(half, 1)
        a.sll(half, half, e)
        a.srli(half, half, 1)

    def of_length(n: int, otherwise: str) -> None:
        a.addi(t, inner, -n)
        a.bne(t, ZERO, otherwise)

    a.arguments(again=t, shape=e)
    a.lw(inner, INNER, e)
    a.addi(pair, inner, 1)
    a.slli(pair, pair, 2)
    a.lui(most, 4)
    a.addi(most, most, -2)
    a.bne(t, ZERO, "pack b")
    a.arguments(a_offset=x, room=m, block=rows)
    a.lw(row_stride, LEFT_STRIDES, e)
    a.lw(step, LEFT_STRIDES + 4, e)
    a.j("pack")
    a.label("pack b")
    a.arguments(column=x, right=m, group=rows, shape=e)
    a.lw(row_stride, RIGHT_STRIDES, e)
    a.lw(step, RIGHT_STRIDES + 4, e)
    a.label("pack")
    a.slli(row_stride, row_stride, 2)
    a.keep(row_stride, "start")
    a.slli(step, step, 2)
    a.li(next_row, 2)
    a.li(e, 0)
    a.label("row")
    a.mv(at, x)
    a.li(largest, 0)
    of_length(8, "not of eight")
    compare(values[:8], "of eight")
    a.label("largest")
    exponent()
    of_length(8, "pack not of eight")
    shift(values[:8], m)
    a.label("row packed")
    a.add(x, x, row_stride)
    a.add(m, m, next_row)
    a.sub(next_row, pair, next_row)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")
    a.arguments(again=t)
    a.bne(t, ZERO, "packed both")
    a.li(t, 1)
    a.keep(t, "again")
    a.keep(x, "a_offset")
    a.j("pack b")
    a.label("not of eight")
    of_length(16, "long row")
    compare(values, "of sixteen")
    a.j("largest")
    a.label("pack not of eight")
    of_length(16, "pack long row")
    shift(values, m)
    a.argument(row_stride, "start")
    a.j("row packed")
    a.label("long row")
    elements(a, "value", inner, left, GROUP, {},
             lambda places, name: compare(values[: len(places)], name))
    a.j("largest")
    a.label("pack long row")
    a.mv(at, x)
    a.mv(to, m)
    elements(a, "packed", inner, left, GROUP, {to: 4}, load_and_shift)
    a.j("row packed")
    a.label("packed both")
    a.keep(x, "column")


LEFT, RIGHT, COLUMN, LINE, PAIR = A0, A1, A2, A4, A5
GUARD_BITS, LEFT_ROWS, STRIDE, SHIFTS, HIGHEST, LOWEST, TURNS = A3, S0, S1, (A6, A7), RA, T0, T0
TARGETS = S10, S11
SUMS, TOTALS = ((S2, S3), (S4, S5)), ((S6, S7), (S8, S9))  # [row][column]


def multiply(a: Rv32Function) -> None:
    """A block of rows of a by a group of those of b."""
    t, u, cols = T1, T2, T3
    a.arguments(shape=t, right=COLUMN, guard=GUARD_BITS, row_stride=STRIDE, limit=HIGHEST)
    a.arguments(group=cols)
    a.lw(PAIR, INNER, t)
    a.addi(PAIR, PAIR, 1)
    a.slli(PAIR, PAIR, 2)
    a.label("columns")
    a.keep(cols, "start")
    a.arguments(shift=t, out=TARGETS[0], step=u)
    for column in range(2):
        a.lhu(SHIFTS[column], 2 * column, COLUMN)
        a.sub(SHIFTS[column], t, SHIFTS[column])
    a.add(TARGETS[1], TARGETS[0], u)
    a.add(t, TARGETS[1], u)
    a.keep(t, "out")
    a.addi(cols, cols, -1)
    a.bne(cols, ZERO, "two columns")
    a.mv(TARGETS[1], ZERO)
    a.add(t, TARGETS[0], u)
    a.keep(t, "out")
    a.label("two columns")
    a.arguments(room=LINE, block=LEFT_ROWS)
    a.label("line")
    a.mv(LEFT, LINE)
    a.mv(RIGHT, COLUMN)
    a.arguments(groups=TURNS)
    a.beq(TURNS, ZERO, "short")
    group(a)
    for row in range(2):
        for column in range(2):
            a.sra(TOTALS[row][column], SUMS[row][column], GUARD_BITS)
    a.label("next group")
    a.addi(TURNS, TURNS, -1)
    a.beq(TURNS, ZERO, "groups done")
    for pointer in (LEFT, RIGHT):
        a.addi(pointer, pointer, 4 * GROUP)
    group(a)
    take(a)
    a.j("next group")
    a.label("short")
    clear(a, TOTALS[0] + TOTALS[1])
    for pointer in (LEFT, RIGHT):
        a.addi(pointer, pointer, -4 * GROUP)
    a.label("groups done")
    a.arguments(rest=TURNS)
    a.beq(TURNS, ZERO, "summed")
    clear(a, SUMS[0] + SUMS[1])
    for pointer in (LEFT, RIGHT):
        a.addi(pointer, pointer, 4 * GROUP)
    a.label("one")
    products(a, 0)
    for pointer in (LEFT, RIGHT):
        a.addi(pointer, pointer, 4)
    a.addi(TURNS, TURNS, -1)
    a.bne(TURNS, ZERO, "one")
    take(a)
    a.label("summed")
    a.arguments(add=t)
    a.sub(LOWEST, ZERO, HIGHEST)
    a.bne(t, ZERO, "onto")
    results(a, "alone")
    a.label("next line")
    a.add(LINE, LINE, PAIR)
    a.addi(LEFT_ROWS, LEFT_ROWS, -2)
    a.blt(ZERO, LEFT_ROWS, "line")
    a.arguments(start=cols)
    a.add(COLUMN, COLUMN, PAIR)
    a.addi(cols, cols, -2)
    a.blt(ZERO, cols, "columns")
    a.j("multiplied")
    a.label("onto")
    results(a, "onto", add=True)
    a.j("next line")
    a.place_seldom()
    a.label("multiplied")


def products(a: Rv32Function, k: int, first: bool = False) -> None:
    """Of value k of two rows and two columns."""
    of_rows, of_columns, product = (T2, T3), (T4, T5), (T1, T6)
    for i in range(2):
        a.lh(of_rows[i], 4 + 4 * k + 2 * i, LEFT)
        a.lh(of_columns[i], 4 + 4 * k + 2 * i, RIGHT)
    for row in range(2):
        for column in range(2):
            to = SUMS[row][column] if first else product[column]
            a.mul(to, of_rows[row], of_columns[column])
        if not first:
            for column in range(2):
                a.add(SUMS[row][column], SUMS[row][column], product[column])


def group(a: Rv32Function) -> None:
    for k in range(GROUP):
        products(a, k, first=not k)


def take(a: Rv32Function) -> None:
    """Sums, without their guard bits, go to the totals."""
    for row in range(2):
        for column in range(2):
            a.sra(SUMS[row][column], SUMS[row][column], GUARD_BITS)
            a.add(TOTALS[row][column], TOTALS[row][column], SUMS[row][column])


def results(a: Rv32Function, name: str, add: bool = False) -> None:
    """Totals become words of the format, at TARGETS, which move to the next row."""
    exponent = T1
    for row in range(2):
        if row:
            a.addi(exponent, LEFT_ROWS, -1)
            a.beq(exponent, ZERO, "next line")
        a.lhu(exponent, 2 * row, LINE)
        for column in range(2):
            if column:
                a.beq(TARGETS[1], ZERO, f"{name} {row} of one column")
            result(a, f"{name} {row}, {column}", TOTALS[row][column], SHIFTS[column],
                   TARGETS[column], exponent, add)
            a.add(TARGETS[column], TARGETS[column], STRIDE)
        a.label(f"{name} {row} of one column")


def result(
    a: Rv32Function, name: str, total: int, shift: int, target: int, exponent: int, add: bool
) -> None:
    """A total becomes a word of the format. What saturates or is shifted to the left is seldom."""
    t, u = T2, T3
    a.sub(t, shift, exponent)
    a.blt(t, ZERO, name + " to the left")
    a.sra(total, total, t)
    a.addi(total, total, 1)
    a.srai(total, total, 1)
    a.label(name + " shifted")
    if add:
        a.lw(u, 0, target)
        a.add(total, total, u)
    a.blt(HIGHEST, total, name + " too high")
    a.blt(total, LOWEST, name + " too low")
    a.label(name + " within")
    a.sw(total, 0, target)

    def seldom() -> None:
        a.label(name + " to the left")
        a.sub(t, ZERO, t)
        a.addi(t, t, -1)
        a.sra(u, HIGHEST, t)
        a.blt(u, total, name + " far too high")
        a.sub(u, ZERO, u)
        a.blt(total, u, name + " far too low")
        a.sll(total, total, t)
        a.j(name + " shifted")
        for far, then in (("far ", " shifted"), ("", " within")):
            for side, bound in (("high", HIGHEST), ("low", LOWEST)):
                a.label(f"{name} {far}too {side}")
                a.mv(total, bound)
                a.arguments(count=t)
                a.lw(u, 0, t)
                a.addi(u, u, 1)
                a.sw(u, 0, t)
                a.j(name + then)

    a.seldom(seldom)
