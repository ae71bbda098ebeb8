"""Normalization on LX6 and LX7: attn8/forms/viper/norm.py says what it computes."""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCHI, ACCLO, HH, HL, LL
from .common_xtensa import half_of

# Of statistics: numbers of a row's groups of four less 1, of its other values, and constants
SPARE = {"norm": ("groups", "rest", "count", "scale", "mean", "most_up")}
# Their register map
X, FOUND, N, ZERO, N_COPIES, TOTAL, HIGH, LOW, T, U, REST, UP, ROOT, ROWS = range(2, 16)


def norm(a: XtensaFunction) -> None:
    statistics(a, begin_sums, sums)
    normalized(a)


def begin_sums(a: XtensaFunction) -> None:
    """Once a call: what `sums` needs, and X for it."""
    a.srli(T, N, 2)
    a.slli(U, N, 1)
    a.or_(U, U, X)
    a.extui(U, U, 0, 2)
    a.beqz(U, "words")
    a.movi(T, 0)
    a.label("words")
    a.slli(U, T, 2)
    a.sub(U, N, U)
    a.keep(U, "rest")
    a.addi(T, T, -1)
    a.keep(T, "groups")
    a.addi(X, X, -4)


def sums(a: XtensaFunction) -> None:
    """TOTAL, of a row, and that of squares, HIGH and LOW: in ACC, of 40 bits, an instruction a
    value each. Rows that do not start at words are added up value by value.
    """
    one = ROOT
    a.arguments(groups=U)
    a.bltz(U, "value by value")
    a.movi(one, 1)
    a.wsr(ZERO, ACCLO)
    a.mov(T, X)
    a.ldinc(0, T)
    for last in (False, True):  # nothing behind the row is loaded
        if not last:
            a.loopnez(U, "sum")
        a.mula_da_ldinc(LL, 1, T, 0, one)
        a.mula_da(HL, 0, one)
        if last:
            a.mula_da(LL, 1, one)
        else:
            a.mula_da_ldinc(LL, 0, T, 1, one)
        a.mula_da(HL, 1, one)
        if not last:
            a.label("sum")
    a.rsr(TOTAL, ACCLO)
    a.wsr(ZERO, ACCLO)
    a.wsr(ZERO, ACCHI)
    a.mov(T, X)
    a.ldinc(0, X)
    a.ldinc(2, T)
    for last in (False, True):
        if not last:
            a.loopnez(U, "squares")
        a.mula_dd_ldinc(LL, 1, X, 0, 2)
        a.mula_dd_ldinc(HH, 3, T, 0, 2)
        if last:
            a.mula_dd(LL, 1, 3)
            a.mula_dd(HH, 1, 3)
        else:
            a.mula_dd_ldinc(LL, 0, X, 1, 3)
            a.mula_dd_ldinc(HH, 2, T, 1, 3)
            a.label("squares")
    a.label("others")
    a.arguments(rest=U)
    a.loopnez(U, "added")
    a.l16si(T, X, 4)
    a.addi(X, X, 2)
    a.add(TOTAL, TOTAL, T)
    a.mula_aa(LL, T, T)
    a.label("added")
    a.rsr(LOW, ACCLO)
    a.rsr(HIGH, ACCHI)
    a.extui(HIGH, HIGH, 0, 8)

    def value_by_value() -> None:
        a.label("value by value")
        a.mov(TOTAL, ZERO)
        a.wsr(ZERO, ACCLO)
        a.wsr(ZERO, ACCHI)
        a.j("others")

    a.seldom(value_by_value)


def statistics(
    a: XtensaFunction,
    begin: Callable[[XtensaFunction], None],
    sums_of_row: Callable[[XtensaFunction], None],
) -> None:
    """Three numbers of each row, by its sums (see `begin_sums` and `sums`)."""
    x, found, n, zero, n_copies, total, high, low, t, u, rest, up, root, rows = (
        X, FOUND, N, ZERO, N_COPIES, TOTAL, HIGH, LOW, T, U, REST, UP, ROOT, ROWS)
    factor, correction = total, high  # after the sums
    a.arguments(x=x, found=found, rows=rows, n=n, eps_high=high, eps_low=low)
    a.slli(t, high, 28)
    a.add(low, low, t)
    a.srli(high, high, 4)
    a.keep(low, "eps_low")
    a.keep(high, "eps_high")
    a.movi(zero, 0)
    a.addi(t, n, -1)
    a.nsau(t, t)
    a.addi(t, t, -20)  # copies
    a.ssl(t)
    a.sll(u, n)
    a.sll(n_copies, u)  # n * 4**copies
    a.slli(u, u, 18)
    a.keep(u, "count")
    a.movi(u, 1)
    a.sll(u, u)
    a.keep(u, "scale")
    a.addi(t, t, 4)  # rest * factor, below n << 16, has room in a word for as many bits more
    a.keep(t, "most_up")
    a.slli(u, n, 15)
    a.keep(u, "mean")
    a.arguments(left=t, centred=u)
    a.addi(t, t, -16)
    a.keep(t, "left")
    a.neg(u, u)
    a.keep(u, "centred")  # a mask
    begin(a)
    a.label("row")
    sums_of_row(a)
    a.arguments(centred=t, mean=u)
    a.and_(total, total, t)
    a.add(t, total, u)  # from 0
    a.quou(u, t, n)
    a.mull(root, u, n)
    a.sub(rest, t, root)
    a.addmi(u, u, -32768)
    a.s32i(u, found, 0)
    # n * squares - total * total, 4**copies times
    a.mull(high, high, n_copies)
    a.muluh(t, low, n_copies)
    a.arguments(scale=u)
    a.add(high, high, t)
    a.mull(low, low, n_copies)
    a.mull(total, total, u)
    a.mulsh(t, total, total)
    a.sub(high, high, t)
    a.mull(t, total, total)
    a.branch("geu", low, t, "no borrow")
    a.addi(high, high, -1)
    a.label("no borrow")
    a.sub(low, low, t)
    a.arguments(eps_low=t, left=up)
    a.add(low, low, t)
    a.branch("geu", low, t, "no carry")
    a.addi(high, high, 1)
    a.label("no carry")
    a.arguments(eps_high=t)
    a.add(high, high, t)
    a.bnez(high, "two words")
    a.extui(t, low, 12, 16)
    a.extui(root, low, 28, 4)
    a.or_(t, t, root)
    a.bnez(t, "unequal")
    a.movi(low, 1)
    a.slli(low, low, 12)
    a.label("unequal")
    a.extui(high, low, 4, 16)
    a.extui(t, low, 20, 12)
    a.slli(t, t, 16)
    a.or_(high, high, t)
    a.slli(low, low, 28)
    a.addi(up, up, 14)
    a.label("two words")
    a.nsau(t, high)
    a.addi(t, t, -2)
    a.srli(t, t, 1)
    a.add(up, up, t)
    a.add(t, t, t)
    a.ssl(t)
    a.src(high, high, low)
    # The root by two of Newton's steps, from 3/8 of high and a constant, at most 5.7 % from it: one
    # step is then at most 0.17 % above, two at most 0.05. Where that reaches the next integer, this
    # is the nearest one
    a.extui(t, high, 17, 13)
    a.addx2(t, t, t)
    a.addmi(root, t, 9728)
    for _ in range(2):
        a.quou(t, high, root)
        a.add(root, root, t)
        a.srli(root, root, 1)
    a.mull(t, root, root)
    a.arguments(count=u)
    a.sub(t, high, t)
    a.branch("ge", root, t, "nearest")
    a.addi(root, root, 1)
    a.label("nearest")
    a.srli(t, root, 1)
    a.add(t, t, u)
    a.arguments(most_up=u)
    a.quou(factor, t, root)
    a.branch("geu", u, up, "few bits")
    a.mull(t, rest, factor)
    a.quou(correction, t, n)
    a.mull(u, correction, n)
    a.sub(t, t, u)
    a.slli(t, t, 17)
    a.quou(t, t, n)
    a.bltz(up, "to the right")
    a.ssl(up)
    a.sll(factor, factor)
    a.sll(correction, correction)
    a.movi(u, 17)
    a.sub(u, u, up)
    a.ssr(u)
    a.srl(t, t)
    a.add(correction, correction, t)
    a.j("found")
    a.label("to the right")
    a.neg(up, up)
    half_of(a, u, up)
    a.add(factor, factor, u)
    a.add(correction, correction, u)
    a.ssr(up)
    a.srl(factor, factor)
    a.srl(correction, correction)
    a.j("found")
    a.label("few bits")
    a.ssl(up)
    a.sll(factor, factor)
    a.mull(t, rest, factor)
    a.quou(correction, t, n)
    a.label("found")
    a.s32i(factor, found, 4)
    a.s32i(correction, found, 8)
    a.addi(found, found, 12)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")


def normalized(a: XtensaFunction) -> None:
    """Two rows at a time share weight and bias: ten instructions a value, and pointers. mean *
    factor is taken off with the correction.
    """
    x, weight, bias, out, low = (2, 3), 4, 5, (6, 7), 8
    factor, offset, v, w = (9, 10), (11, 12), (13, 14), 15
    a.arguments(shift=w, most=low)
    a.ssr(w)
    a.srli(w, low, 8)
    a.neg(low, low)
    a.bnez(w, "int16 rows")
    for size in (1, 2):
        name = f"int{8 * size} "

        def body(places: range, rows: int, size: int = size) -> None:
            values = [*zip(v, x, factor, offset, out, strict=True)][:rows]
            for i in places:
                for y, place, *_ in values:
                    a.l16si(y, place, 2 * i)
                a.l32i(w, weight, 4 * i)
                for y, _, by, _, _ in values:
                    a.mull(y, y, by)
                for y, _, _, less, _ in values:
                    a.sub(y, y, less)
                for y, *_ in values:
                    a.mulsh(y, y, w)
                a.l32i(w, bias, 4 * i)
                for y, *_ in values:
                    a.add(y, y, w)
                for y, *_ in values:
                    a.sra(y, y)
                for y, *_ in values:
                    a.clamps(y, y, 8 * size - 1)
                for y, *_ in values:
                    a.max(y, y, low)
                for y, *_, place in values:
                    (a.s8i, a.s16i)[size - 1](y, place, size * i)

        def row_of(rows: int, name: str = name, size: int = size) -> None:
            """One row or two."""
            a.arguments(found=w)
            for k in range(rows):
                a.l32i(offset[k], w, 12 * k)
                a.l32i(factor[k], w, 12 * k + 4)
                a.l32i(v[0], w, 12 * k + 8)
                a.mull(offset[k], offset[k], factor[k])
                a.add(offset[k], offset[k], v[0])
            a.addi(w, w, 12 * rows)
            a.keep(w, "found")
            a.arguments(weight=weight, bias=bias)
            for unroll, label in ((4, f"{name}by four, {rows}"), (1, f"{name}by one, {rows}")):
                a.arguments(n=w)
                if unroll > 1:
                    a.srli(w, w, 2)
                else:
                    a.extui(w, w, 0, 2)
                a.loopnez(w, label)
                body(range(unroll), rows)
                for pointers, step in ((x, 2), (out, size)):
                    for pointer in pointers[:rows]:
                        a.addi(pointer, pointer, unroll * step)
                a.addi(weight, weight, 4 * unroll)
                a.addi(bias, bias, 4 * unroll)
                a.label(label)

        a.label(name + "rows")
        a.arguments(rows=w, x=x[0], out=out[0], n=v[0])
        a.addi(w, w, -2)
        a.keep(w, "rows")
        a.bltz(w, name + "one row")
        a.addx2(x[1], v[0], x[0])
        (a.add, a.addx2)[size - 1](out[1], v[0], out[0])
        row_of(2)
        a.keep(x[1], "x")
        a.keep(out[1], "out")
        a.arguments(rows=w)
        a.beqz(w, "done")
        a.j(name + "rows")
        a.label(name + "one row")
        row_of(1)
        if size == 1:
            a.j("done")
    a.label("done")
