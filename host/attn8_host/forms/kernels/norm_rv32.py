"""Normalization on RV32IM: attn8/forms/viper/norm.py says what it computes."""

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
    ZERO,
)
from .common_rv32 import clamp, elements


def norm(a: Rv32Function) -> None:
    statistics(a)
    normalized(a)


def statistics(a: Rv32Function) -> None:
    """Sums of squares are in two words."""
    x, found, rows, n, total, high, low, t = A0, A1, A2, A3, A4, A5, A6, A7
    mean, rest, up, root, copies, count, eps_low, eps_high = S0, S1, S2, S3, S4, S5, S6, S7
    u, v, left, n_copies, centred, from_0, most_up, start = S8, S9, S10, S11, T0, T1, T2, T3
    factor, correction = mean, total  # when these are stored or used no more
    a.arguments(x=x, found=found, rows=rows, n=n, eps_high=eps_high, eps_low=eps_low)
    a.arguments(centred=centred, left=left)
    a.slli(t, eps_high, 28)
    a.add(eps_low, eps_low, t)
    a.srli(eps_high, eps_high, 4)
    a.sub(centred, ZERO, centred)  # a mask
    a.addi(left, left, -16)
    a.slli(from_0, n, 15)
    a.li(copies, 0)
    a.mv(count, n)
    a.j("enough?")
    a.label("one more")
    a.slli(count, count, 1)
    a.addi(copies, copies, 1)
    a.label("enough?")
    a.addi(t, count, -1)
    a.srli(t, t, 11)
    a.beq(t, ZERO, "one more")
    a.sll(n_copies, count, copies)  # n * 4**copies
    a.slli(count, count, 18)
    a.addi(most_up, copies, 4)  # rest * factor, below n << 16, has room for as many bits more
    a.lui(start, 2)
    a.addi(start, start, 1536)
    a.label("row")
    for register in (total, high, low):
        a.li(register, 0)

    def body(places: range, _: str) -> None:
        values = [*zip((t, u), places, strict=False)]
        for y, i in values:
            a.lh(y, 2 * i, x)
        for y, _i in values:
            a.add(total, total, y)
        for y, _i in values:
            a.mul(y, y, y)
        if len(values) > 1:
            a.add(t, t, u)  # at most 2**31
        a.add(low, low, t)
        a.sltu(t, low, t)
        a.add(high, high, t)

    elements(a, "value", n, v, 16, {x: 2}, body)
    a.and_(total, total, centred)
    a.add(t, total, from_0)
    a.divu(mean, t, n)
    a.mul(u, mean, n)
    a.sub(rest, t, u)
    a.lui(t, 8)
    a.sub(mean, mean, t)
    a.sw(mean, 0, found)
    # n * squares - total * total, 4**copies times, and eps
    a.mul(high, high, n_copies)
    a.mulhu(t, low, n_copies)
    a.sll(total, total, copies)
    a.mul(low, low, n_copies)
    a.add(high, high, t)
    a.mulh(t, total, total)
    a.mul(u, total, total)
    a.sub(high, high, t)
    a.sltu(t, low, u)
    a.sub(low, low, u)
    a.sub(high, high, t)
    a.add(low, low, eps_low)
    a.sltu(t, low, eps_low)
    a.add(high, high, t)
    a.add(high, high, eps_high)
    a.mv(up, left)
    a.bne(high, ZERO, "two words")
    a.srli(t, low, 12)
    a.bne(t, ZERO, "unequal")
    a.lui(low, 1)
    a.label("unequal")
    a.srli(high, low, 4)
    a.slli(low, low, 28)
    a.addi(up, up, 14)
    a.label("two words")
    for bits in (16, 8, 4, 2):
        a.srli(t, high, 30 - bits)
        a.bne(t, ZERO, f"not {bits}")
        a.slli(high, high, bits)
        a.srli(t, low, 32 - bits)
        a.or_(high, high, t)
        a.slli(low, low, bits)
        a.addi(up, up, bits // 2)
        a.label(f"not {bits}")
    # The root by two of Newton's steps, from 3/8 of high and a constant, at most 5.7 % from it: one
    # step is then at most 0.17 % above, two at most 0.05. Where that reaches the next integer, this
    # is the nearest one
    a.srli(root, high, 17)
    a.slli(t, root, 1)
    a.add(root, root, t)
    a.add(root, root, start)
    for _ in range(2):
        a.divu(t, high, root)
        a.add(root, root, t)
        a.srli(root, root, 1)
    a.mul(t, root, root)
    a.sub(t, high, t)
    a.bge(root, t, "nearest")
    a.addi(root, root, 1)
    a.label("nearest")
    a.srli(u, root, 1)
    a.add(t, count, u)
    a.divu(factor, t, root)
    a.bltu(most_up, up, "many bits")
    a.sll(factor, factor, up)
    a.mul(t, rest, factor)
    a.divu(correction, t, n)
    a.label("found")
    a.sw(factor, 4, found)
    a.sw(correction, 8, found)
    a.addi(found, found, 12)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")
    a.j("done")
    a.label("many bits")
    a.mul(t, rest, factor)
    a.divu(correction, t, n)
    a.mul(u, correction, n)
    a.sub(t, t, u)
    a.slli(t, t, 17)
    a.divu(t, t, n)
    a.blt(up, ZERO, "to the right")
    a.sll(factor, factor, up)
    a.sll(correction, correction, up)
    a.li(u, 17)
    a.sub(u, u, up)
    a.srl(t, t, u)
    a.add(correction, correction, t)
    a.j("found")
    a.label("to the right")
    a.sub(up, ZERO, up)
    a.li(u, 1)
    a.sll(u, u, up)
    a.srli(u, u, 1)
    a.add(factor, factor, u)
    a.add(correction, correction, u)
    a.srl(factor, factor, up)
    a.srl(correction, correction, up)
    a.j("found")
    a.label("done")


def normalized(a: Rv32Function) -> None:
    """Two rows at a time share weight and bias: ten instructions a value, and pointers. mean *
    factor is taken off with the correction.
    """
    x, out, factor, offset = (A0, A1), (A2, A3), (S0, S1), (S2, S3)
    weight, bias, n, shift, low, high, left, t = A4, A5, A6, A7, S4, S5, S6, S7
    a.arguments(n=n, shift=shift, most=high)
    a.sub(low, ZERO, high)
    a.srli(t, high, 8)
    a.bne(t, ZERO, "int16 rows")
    for size in (1, 2):
        name = f"int{8 * size} "

        def row_of(rows: int, name: str = name, size: int = size) -> None:
            """One row or two."""

            def body(places: range, label: str) -> None:
                values = [*zip(((T0, T1), (T3, T4)), (T2, T5), places, strict=False)]
                for both, w, i in values:
                    for v, place in zip(both, x[:rows], strict=False):
                        a.lh(v, 2 * i, place)
                    a.lw(w, 4 * i, weight)
                for both, w, i in values:
                    own = [*zip(both, factor, offset, out, strict=True)][:rows]
                    for v, by, _, _ in own:
                        a.mul(v, v, by)
                    for v, _, less, _ in own:
                        a.sub(v, v, less)
                    for v, *_ in own:
                        a.mulh(v, v, w)
                    a.lw(w, 4 * i, bias)
                    for v, *_ in own:
                        a.add(v, v, w)
                    for v, *_ in own:
                        a.sra(v, v, shift)
                    for k, (v, _, _, place) in enumerate(own):
                        clamp(a, f"{label} {i}, {k}", v, high, low)
                        (a.sb, a.sh)[size - 1](v, size * i, place)

            a.arguments(found=t, weight=weight, bias=bias)
            for k in range(rows):
                a.lw(offset[k], 12 * k, t)
                a.lw(factor[k], 12 * k + 4, t)
                a.lw(T0, 12 * k + 8, t)
                a.mul(offset[k], offset[k], factor[k])
                a.add(offset[k], offset[k], T0)
            a.addi(t, t, 12 * rows)
            a.keep(t, "found")
            steps = dict.fromkeys(x[:rows], 2) | {weight: 4, bias: 4}
            steps |= dict.fromkeys(out[:rows], size)
            elements(a, f"{name}value of {rows}", n, t, 8, steps, body)

        a.label(name + "rows")
        a.arguments(rows=left, x=x[0], out=out[0])
        a.label(name + "next rows")
        a.addi(left, left, -2)
        a.blt(left, ZERO, name + "one row")
        a.slli(t, n, 1)
        a.add(x[1], x[0], t)
        a.add(out[1], out[0], (n, t)[size - 1])
        row_of(2)
        a.mv(x[0], x[1])
        a.mv(out[0], out[1])
        a.bne(left, ZERO, name + "next rows")
        a.j("normalized")
        a.label(name + "one row")
        row_of(1)
        if size == 1:
            a.j("normalized")
    a.label("normalized")
