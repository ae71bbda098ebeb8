"""Products of training's fixed point on LX6 and LX7: attn8/forms/viper/fixed_product.py says what
they compute. Mantissas are int16: an instruction multiplies two of them, adds and loads. In `room`
a row is a word, its exponent, and mantissas that are filled up to words.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import half_of

SPARE = {"matmul": ("rows", "cols", "block", "group", "right", "column", "row_stride", "step",
                    "guard", "shift", "add")}
GROUP = 8  # products that are summed before the guard bits go
# Places of the words of `shape`, in bytes
ROWS, INNER, ROW_STRIDE, STEP, GUARD, FRAC, LIMIT, ADD, COLS, LEFT_STRIDES, RIGHT_STRIDES = (
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 44)
BLOCK, COLUMNS = 52, 56


def matmul(a: XtensaFunction) -> None:
    """1.75 instructions a product of eight. Pointers to mantissas stand a word before the next."""
    matmul_with(a, products, 0)


# Register map while products are summed; U is free
LEFT, Y, GROUPS, REST, TOTAL, T, U, ZERO = range(2, 10)


def products(a: XtensaFunction) -> None:
    """TOTAL of a row LEFT and a column Y, without guard bits, which SAR has; both end behind it."""
    a.loopnez(GROUPS, "groups")
    a.ldinc(0, LEFT)
    a.ldinc(2, Y)
    a.wsr(ZERO, ACCLO)
    for k in range(4):
        # Words of LEFT alternate between m0 and m1, of Y between m2 and m3
        m, n = k % 2, 2 + k % 2
        if k < 3:
            a.mula_dd_ldinc(LL, 1 - m, LEFT, m, n)
            a.mula_dd_ldinc(HH, 5 - n, Y, m, n)
        else:
            a.mula_dd(LL, m, n)
            a.mula_dd(HH, m, n)
    a.rsr(T, ACCLO)
    a.sra(T, T)
    a.add(TOTAL, TOTAL, T)
    a.label("groups")
    a.beqz(REST, "no rest")
    a.wsr(ZERO, ACCLO)
    a.loopnez(REST, "rest")
    a.ldinc(0, LEFT)
    a.ldinc(2, Y)
    a.mula_dd(LL, 0, 2)
    a.mula_dd(HH, 0, 2)
    a.label("rest")
    a.rsr(T, ACCLO)
    a.sra(T, T)
    a.add(TOTAL, TOTAL, T)
    a.label("no rest")


def matmul_with(
    a: XtensaFunction, products_of: Callable[[XtensaFunction], None], before: int
) -> None:
    """All products, each by `products_of` (see `products`), whose pointers stand so many bytes
    behind the word before the next mantissa.
    """
    t, u = T, U
    begin(a)
    a.label("block")
    a.arguments(rows=t, shape=u)
    a.l32i(u, u, BLOCK)
    a.min(t, t, u)
    a.keep(t, "block")
    a.arguments(shape=u, b_offset=t)
    a.keep(t, "column")
    a.l32i(t, u, COLS)
    a.keep(t, "cols")
    a.arguments(offset=t)
    a.keep(t, "out")
    a.label("group")
    a.arguments(cols=t, shape=u)
    a.l32i(u, u, COLUMNS)
    a.min(t, t, u)
    a.keep(t, "group")
    pack(a)
    multiply(a, products_of, before)
    a.arguments(cols=t, group=u)
    a.sub(t, t, u)
    a.keep(t, "cols")
    a.beqz(t, "columns done")
    a.j("group")
    a.label("columns done")
    a.movi(t, 0)
    a.keep(t, "again")
    a.arguments(rows=t, block=u)
    a.sub(t, t, u)
    a.keep(t, "rows")
    a.beqz(t, "done")
    a.arguments(row_stride=t, offset=LEFT)
    a.mull(t, t, u)
    a.add(t, t, LEFT)
    a.keep(t, "offset")
    a.j("block")
    a.label("done")


def begin(a: XtensaFunction) -> None:
    """Offsets become addresses, strides of results bytes; what does not change is kept."""
    shape, t, u, v = range(2, 6)
    a.arguments(shape=shape)
    for array, offset in (("a", "a_offset"), ("b", "b_offset"), ("out", "offset")):
        a.argument(t, array)
        a.argument(u, offset)
        a.addx4(t, u, t)
        a.keep(t, offset)
    for place, name in ((ROW_STRIDE, "row_stride"), (STEP, "step")):
        a.l32i(t, shape, place)
        a.slli(t, t, 2)
        a.keep(t, name)
    for place, name in ((ROWS, "rows"), (GUARD, "guard"), (ADD, "add")):
        a.l32i(t, shape, place)
        a.keep(t, name)
    a.arguments(guard=u)
    a.l32i(t, shape, FRAC)
    a.sub(t, t, u)
    a.keep(t, "shift")
    a.l32i(t, shape, BLOCK)
    a.l32i(u, shape, INNER)
    for words in (t, u):
        a.addi(words, words, 1)
        a.srli(words, words, 1)
    a.addi(u, u, 1)
    a.mull(t, t, u)
    a.slli(t, t, 1)
    a.arguments(room=v)
    a.addx4(t, t, v)
    a.keep(t, "right")


def pack(a: XtensaFunction) -> None:
    """Rows of b, and of a before, where they are not there yet."""
    x, m, rows, inner, row_stride, step, at, t, highest, lowest, e = range(2, 13)
    a.arguments(again=t, shape=e)
    a.l32i(inner, e, INNER)
    a.bnez(t, "pack b")
    a.arguments(a_offset=x, room=m, block=rows)
    a.l32i(row_stride, e, LEFT_STRIDES)
    a.l32i(step, e, LEFT_STRIDES + 4)
    a.j("pack")
    a.label("pack b")
    a.arguments(column=x, right=m, group=rows, shape=e)
    a.l32i(row_stride, e, RIGHT_STRIDES)
    a.l32i(step, e, RIGHT_STRIDES + 4)
    a.label("pack")
    a.slli(row_stride, row_stride, 2)
    a.slli(step, step, 2)
    a.label("row")
    a.mov(at, x)
    a.movi(highest, 0)
    a.movi(lowest, -1)
    a.loopnez(inner, "largest")
    a.l32i(t, at)
    a.add(at, at, step)
    a.max(highest, highest, t)
    a.min(lowest, lowest, t)
    a.label("largest")
    a.neg(lowest, lowest)
    a.addi(lowest, lowest, -1)
    a.max(highest, highest, lowest)
    a.nsau(e, highest)
    a.movi(t, 18)
    a.sub(e, t, e)
    a.movi(t, 0)
    a.max(e, e, t)  # so that 14 bits are left
    a.ssr(e)
    a.sra(highest, highest)
    a.addi(highest, highest, 1)
    a.srli(highest, highest, 14)
    a.add(e, e, highest)  # 16383 is too large
    a.s32i(e, m)
    a.addi(m, m, 4)
    half_of(a, highest, e)
    a.ssr(e)
    a.mov(at, x)
    a.loopnez(inner, "packed")
    a.l32i(t, at)
    a.add(at, at, step)
    a.add(t, t, highest)
    a.sra(t, t)
    a.s16i(t, m)
    a.addi(m, m, 2)
    a.label("packed")
    a.extui(t, inner, 0, 1)
    a.beqz(t, "full")
    a.movi(t, 0)
    a.s16i(t, m)
    a.addi(m, m, 2)
    a.label("full")
    a.add(x, x, row_stride)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")
    a.arguments(again=t)
    a.bnez(t, "packed both")
    a.movi(t, 1)
    a.keep(t, "again")
    a.keep(x, "a_offset")
    a.j("pack b")
    a.label("packed both")
    a.keep(x, "column")


def multiply(
    a: XtensaFunction, products_of: Callable[[XtensaFunction], None], before: int
) -> None:
    """A block of rows of a by a group of those of b."""
    left, y, groups, rest, total, t, u, zero = LEFT, Y, GROUPS, REST, TOTAL, T, U, ZERO
    target, rows, cols, base, shift, limit = range(10, 16)
    a.arguments(shape=t, right=y, group=cols)
    a.l32i(groups, t, INNER)
    a.extui(rest, groups, 0, 3)
    a.srli(groups, groups, 3)
    a.addi(rest, rest, 1)
    a.srli(rest, rest, 1)  # in words
    a.l32i(limit, t, LIMIT)
    a.movi(zero, 0)
    a.label("column")
    a.arguments(room=left, out=target, block=rows, shift=base)
    a.l32i(u, y)
    a.keep(y, "b")
    a.sub(base, base, u)
    a.label("line")
    a.arguments(guard=t, b=y)
    a.l32i(shift, left)
    a.ssr(t)
    a.mov(total, zero)
    a.sub(shift, base, shift)
    if before:
        a.addi(left, left, before)
        a.addi(y, y, before)
    products_of(a)
    a.branch("ge", zero, shift, "to the left")
    a.addi(shift, shift, -1)
    a.ssr(shift)
    a.sra(total, total)
    a.addi(total, total, 1)
    a.srai(total, total, 1)
    a.label("shifted")
    a.arguments(add=t, row_stride=u)
    a.beqz(t, "alone")
    a.l32i(t, target)
    a.add(total, total, t)
    a.label("alone")
    a.neg(t, limit)
    a.branch("lt", limit, total, "too high")
    a.branch("lt", total, t, "too low")
    a.label("within")
    a.s32i(total, target)
    a.add(target, target, u)
    a.addi(rows, rows, -1)
    if before != 4:
        a.addi(left, left, 4 - before)
    a.beqz(rows, "next column")
    a.j("line")
    a.label("too high")
    a.mov(t, limit)
    a.label("too low")
    a.mov(total, t)
    count(a, t, shift)
    a.j("within")
    a.label("to the left")
    a.neg(shift, shift)
    a.ssr(shift)
    a.sra(u, limit)
    a.branch("lt", u, total, "far too high")
    a.neg(u, u)
    a.branch("lt", total, u, "far too low")
    a.ssl(shift)
    a.sll(total, total)
    a.j("shifted")
    a.label("far too low")
    a.neg(t, limit)
    a.j("far")
    a.label("far too high")
    a.mov(t, limit)
    a.label("far")
    a.mov(total, t)
    count(a, t, shift)
    a.j("shifted")
    a.label("next column")
    if before != 4:
        a.addi(y, y, 4 - before)
    a.arguments(out=target, step=u)
    a.add(target, target, u)
    a.keep(target, "out")
    a.addi(cols, cols, -1)
    a.beqz(cols, "multiplied")
    a.j("column")
    a.label("multiplied")


def count(a: XtensaFunction, t: int, u: int) -> None:
    """One saturation more."""
    a.arguments(count=t)
    a.l32i(u, t)
    a.addi(u, u, 1)
    a.s32i(u, t)
