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
    T0,
    T1,
    T2,
    T3,
    ZERO,
)
from .common_rv32 import clamp, elements


def statistics(a: Rv32Function) -> None:
    """Sums of squares are in two words."""
    x, found, rows, n, total, high, low, t = A0, A1, A2, A3, A4, A5, A6, A7
    mean, rest, up, root, twice, count, eps_low, eps_high = S0, S1, S2, S3, S4, S5, S6, S7
    u, v = S8, S9
    factor, correction = mean, total  # when these are stored or used no more
    a.arguments(x=x, found=found, rows=rows, n=n, eps_high=eps_high, eps_low=eps_low)
    a.slli(t, eps_high, 28)
    a.add(eps_low, eps_low, t)
    a.srli(eps_high, eps_high, 4)
    a.li(twice, 0)  # twice the copies
    a.mv(count, n)
    a.j("enough?")
    a.label("one more")
    a.slli(count, count, 1)
    a.addi(twice, twice, 2)
    a.label("enough?")
    a.addi(t, count, -1)
    a.srli(t, t, 11)
    a.beq(t, ZERO, "one more")
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
    a.arguments(centred=t)
    a.bne(t, ZERO, "centred")
    a.li(total, 0)
    a.label("centred")
    a.slli(t, n, 15)
    a.add(t, total, t)  # from 0
    a.divu(mean, t, n)
    a.lui(t, 8)
    a.sub(mean, mean, t)
    a.mul(t, mean, n)
    a.sub(rest, total, t)
    a.sw(mean, 0, found)
    # n * squares - total * total
    a.mul(high, high, n)
    a.mulhu(t, low, n)
    a.add(high, high, t)
    a.mul(low, low, n)
    a.mulh(t, total, total)
    a.sub(high, high, t)
    a.mul(t, total, total)
    a.sltu(u, low, t)
    a.sub(high, high, u)
    a.sub(low, low, t)
    # 4**copies times, and eps
    a.sll(high, high, twice)
    a.li(u, 31)
    a.sub(u, u, twice)
    a.srli(t, low, 1)
    a.srl(t, t, u)
    a.or_(high, high, t)
    a.sll(low, low, twice)
    a.add(low, low, eps_low)
    a.sltu(t, low, eps_low)
    a.add(high, high, t)
    a.add(high, high, eps_high)
    a.arguments(left=up)
    a.addi(up, up, -16)
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
    # The root by Newton's steps, from at most a quarter above it
    a.srli(root, high, 16)
    a.lui(t, 4)
    a.add(root, root, t)
    for _ in range(3):
        a.divu(t, high, root)
        a.add(root, root, t)
        a.srli(root, root, 1)
    a.mul(t, root, root)
    a.sub(t, high, t)
    a.bge(root, t, "not above")
    a.addi(root, root, 1)
    a.j("nearest")
    a.label("not above")
    a.add(t, t, root)
    a.blt(ZERO, t, "nearest")
    a.addi(root, root, -1)
    a.label("nearest")
    a.slli(t, count, 18)
    a.srli(u, root, 1)
    a.add(t, t, u)
    a.divu(factor, t, root)
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
    a.label("found")
    a.sw(factor, 4, found)
    a.sw(correction, 8, found)
    a.addi(found, found, 12)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def norm(a: Rv32Function) -> None:
    """mean * factor is taken off with the correction."""
    x, found, weight, bias, out, rows, n, shift = A0, A1, A2, A3, A4, A5, A6, A7
    low, high, factor, offset, t = S0, S1, S2, S3, S4
    a.arguments(x=x, found=found, out=out, rows=rows, n=n, shift=shift, most=high)
    a.sub(low, ZERO, high)
    a.srli(t, high, 8)
    a.bne(t, ZERO, "int16 row")
    for size in (1, 2):
        name = f"int{8 * size} "

        def body(places: range, label: str, size: int = size) -> None:
            values = [*zip((T0, T2), (T1, T3), places, strict=False)]
            for v, w, i in values:
                a.lh(v, 2 * i, x)
                a.lw(w, 4 * i, weight)
            for v, _, _ in values:
                a.mul(v, v, factor)
            for v, _, _ in values:
                a.sub(v, v, offset)
            for v, w, i in values:
                a.mulh(v, v, w)
                a.lw(w, 4 * i, bias)
            for v, w, i in values:
                a.add(v, v, w)
                a.sra(v, v, shift)
                clamp(a, f"{label} {i}", v, high, low)
            for v, _, i in values:
                (a.sb, a.sh)[size - 1](v, size * i, out)

        a.label(name + "row")
        a.lw(t, 0, found)
        a.lw(factor, 4, found)
        a.lw(offset, 8, found)
        a.addi(found, found, 12)
        a.mul(t, t, factor)
        a.add(offset, offset, t)
        a.arguments(weight=weight, bias=bias)
        elements(a, name + "value", n, t, 8, {x: 2, weight: 4, bias: 4, out: size}, body)
        a.addi(rows, rows, -1)
        a.bne(rows, ZERO, name + "row")
        if size == 1:
            a.j("done")
    a.label("done")
