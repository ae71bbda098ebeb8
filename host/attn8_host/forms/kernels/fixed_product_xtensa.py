"""Products of training's fixed point on LX6 and LX7: attn8/forms/viper/fixed_product.py says what
they compute. Mantissas are int16: an instruction multiplies two of them, adds and loads.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import half_of

SPARE = {"matmul": ("guard", "shift", "limit", "add", "row_stride", "step")}
GROUP = 8  # products that are summed before the guard bits go


def pack(a: XtensaFunction) -> None:
    x, m, exponents, rows, inner, row_stride, step, at, t, highest, lowest, e = range(2, 14)
    a.arguments(x=x, m=m, exponents=exponents, rows=rows, inner=inner, row_stride=row_stride)
    a.arguments(step=step, offset=t)
    for words in (t, row_stride, step):
        a.slli(words, words, 2)
    a.add(x, x, t)
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
    a.s8i(e, exponents)
    a.addi(exponents, exponents, 1)
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


# Register map of `matmul`; U is free while products are summed
LEFT, Y, GROUPS, REST, TOTAL, T, U, ZERO = range(2, 10)


def matmul(a: XtensaFunction) -> None:
    """1.75 instructions a product of eight. Pointers to mantissas stand a word before the next."""
    matmul_with(a, products, -4)


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
    from the next mantissa.
    """
    left, y, groups, rest, total, t, u, zero = LEFT, Y, GROUPS, REST, TOTAL, T, U, ZERO
    target, end, exponents, base, shift, limit = range(10, 16)
    a.arguments(shape=t, out=target, offset=u, b=y)
    a.slli(u, u, 2)
    a.add(target, target, u)
    a.keep(target, "out")
    a.addi(y, y, before)
    a.keep(y, "b")
    a.l32i(groups, t, 4)
    a.extui(rest, groups, 0, 3)
    a.srli(groups, groups, 3)
    a.addi(rest, rest, 1)
    a.srli(rest, rest, 1)  # in words
    for place, name in ((8, "row_stride"), (12, "step")):
        a.l32i(u, t, place)
        a.slli(u, u, 2)
        a.keep(u, name)
    a.l32i(u, t, 16)
    a.keep(u, "guard")
    a.l32i(total, t, 20)
    a.sub(u, total, u)
    a.keep(u, "shift")
    a.l32i(u, t, 28)
    a.keep(u, "add")
    a.l32i(limit, t, 24)
    a.movi(zero, 0)
    a.label("column")
    a.arguments(a=left, a_exponents=exponents, out=target, shape=t, b_exponents=u, shift=base)
    a.l32i(end, t, 0)
    a.l8ui(u, u)
    a.addi(left, left, before)
    a.add(end, end, exponents)
    a.sub(base, base, u)
    a.label("row")
    a.arguments(guard=t, b=y)
    a.l8ui(shift, exponents)
    a.ssr(t)
    a.mov(total, zero)
    a.sub(shift, base, shift)
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
    a.addi(exponents, exponents, 1)
    a.branch("eq", exponents, end, "next column")
    a.j("row")
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
    a.keep(y, "b")
    a.arguments(b_exponents=t, step=u, cols=shift)
    a.addi(t, t, 1)
    a.keep(t, "b_exponents")
    a.arguments(out=target)
    a.add(target, target, u)
    a.keep(target, "out")
    a.addi(shift, shift, -1)
    a.keep(shift, "cols")
    a.beqz(shift, "done")
    a.j("column")
    a.label("done")


def count(a: XtensaFunction, t: int, u: int) -> None:
    """One saturation more."""
    a.arguments(count=t)
    a.l32i(u, t)
    a.addi(u, u, 1)
    a.s32i(u, t)
