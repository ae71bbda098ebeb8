"""Training's fixed point word by word on RV32IM: attn8/forms/viper/fixed_words.py says what each
kernel computes.
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
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    T0,
    T1,
    T2,
    T3,
    ZERO,
)
from .common_rv32 import elements


def peak(a: Rv32Function) -> None:
    largest, n, x, t = A0, A1, A2, A3
    a.arguments(x=x, n=n)
    a.li(largest, 0)

    def body(places: range, name: str) -> None:
        values = [*zip((T0, T2), (T1, T3), places, strict=False)]
        for v, _, i in values:
            a.lw(v, 4 * i, x)
        for v, sign, i in values:
            a.srai(sign, v, 31)
            a.xor(v, v, sign)
            a.bge(largest, v, f"{name} {i} not larger")
            a.mv(largest, v)
            a.label(f"{name} {i} not larger")

    elements(a, "word", n, t, 8, {x: 4}, body)


def spread(a: Rv32Function) -> None:
    x, out, rows, columns, t = A0, A1, A2, A3, A4
    a.arguments(out=out, rows=rows, columns=columns)

    def body(places: range, _: str) -> None:
        values = [*zip((T0, T1), places, strict=False)]
        for v, i in values:
            a.lw(v, 4 * i, x)
        for v, i in values:
            a.sw(v, 4 * i, out)

    a.addi(t, columns, -1)
    a.beq(t, ZERO, "one column")
    a.label("row")
    a.arguments(x=x)
    elements(a, "word", columns, t, 8, {x: 4, out: 4}, body)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")
    a.j("done")
    a.label("one column")
    a.arguments(x=x)
    a.lw(T0, 0, x)

    def fill(places: range, _: str) -> None:
        for i in places:
            a.sw(T0, 4 * i, out)

    elements(a, "row of one", rows, t, 8, {out: 4}, fill)
    a.label("done")


def saturate(a: Rv32Function, name: str, v: int, limit: int, low: int, count: int, t: int) -> None:
    """v within +-limit; t is a register. Words that saturate are seldom, and counted."""
    a.bge(limit, v, name + " not high")
    a.mv(v, limit)
    a.j(name + " counted")
    a.label(name + " not high")
    a.bge(v, low, name + " within")
    a.mv(v, low)
    a.label(name + " counted")
    a.lw(t, 0, count)
    a.addi(t, t, 1)
    a.sw(t, 0, count)
    a.label(name + " within")


def column_sums(a: Rv32Function) -> None:
    x, out, rows, columns, limit, count, low, stride = A0, A1, A2, A3, A4, A5, A6, A7
    at, left, total, v, t = S0, S1, T0, T1, T2
    a.arguments(x=x, out=out, rows=rows, columns=columns, limit=limit, count=count)
    a.sub(low, ZERO, limit)
    a.slli(stride, columns, 2)
    a.label("column")
    a.mv(at, x)
    a.mv(left, rows)
    a.lw(total, 0, out)
    a.label("row")
    a.lw(v, 0, at)
    a.add(at, at, stride)
    a.addi(left, left, -1)
    a.add(total, total, v)
    saturate(a, "sum", total, limit, low, count, t)
    a.bne(left, ZERO, "row")
    a.sw(total, 0, out)
    a.addi(out, out, 4)
    a.addi(x, x, 4)
    a.addi(columns, columns, -1)
    a.bne(columns, ZERO, "column")


def add(a: Rv32Function) -> None:
    x, y, out, n, negate, limit, count, low, left, t = A0, A1, A2, A3, A4, A5, A6, A7, S0, S1
    a.arguments(x=x, y=y, out=out, n=n, negate=negate, limit=limit, count=count)
    a.sub(low, ZERO, limit)

    def body(places: range, name: str) -> None:
        values = [*zip((T0, T2), (T1, T3), places, strict=False)]
        for v, w, i in values:
            a.lw(w, 4 * i, y)
            a.lw(v, 4 * i, x)
        for v, w, i in values:
            a.xor(w, w, negate)
            a.sub(w, w, negate)
            a.add(v, v, w)
            saturate(a, f"{name} {i}", v, limit, low, count, t)
        for v, _, i in values:
            a.sw(v, 4 * i, out)

    elements(a, "word", n, left, 4, {x: 4, y: 4, out: 4}, body)


def scale(a: Rv32Function) -> None:
    x, out, n, mult, shift, high, low, left = A0, A1, A2, A3, A4, A5, A6, A7
    a.arguments(x=x, out=out, n=n, mult=mult, shift=shift)
    halves(a, "", shift, low, high)

    def body(places: range, _: str) -> None:
        values = [*zip((T0, T2), (T1, T3), places, strict=False)]
        for v, _w, i in values:
            a.lw(v, 4 * i, x)
        for v, w, i in values:
            scaled(a, v, w, S0, mult, low)
            a.add(v, v, high)
            a.sra(v, v, shift)
            a.sw(v, 4 * i, out)

    elements(a, "word", n, left, 4, {x: 4, out: 4}, body)


def halves(a: Rv32Function, name: str, shift: int, low: int, high: int) -> None:
    """A shift becomes what is left of it behind `scaled`; low and high round in either."""
    a.addi(shift, shift, -15)
    a.li(high, 1)
    a.sll(high, high, shift)
    a.srli(high, high, 1)
    a.li(low, 0)
    a.bne(shift, ZERO, name + "shifted")
    a.lui(low, 4)
    a.label(name + "shifted")


def scaled(a: Rv32Function, v: int, w: int, t: int, mult: int, low: int) -> None:
    """v = v*mult + low >> 15, from all 64 bits of the product."""
    a.mulh(w, v, mult)
    a.mul(v, v, mult)
    a.add(v, v, low)
    a.sltu(t, v, low)
    a.add(w, w, t)
    a.srli(v, v, 15)
    a.slli(w, w, 17)
    a.or_(v, v, w)


def relu(a: Rv32Function) -> None:
    x, gate, out, n, left = A0, A1, A2, A3, A4
    a.arguments(x=x, gate=gate, out=out, n=n)

    def body(places: range, name: str) -> None:
        values = [*zip((T0, T2), (T1, T3), places, strict=False)]
        for v, g, i in values:
            a.lw(g, 4 * i, gate)
            a.lw(v, 4 * i, x)
        for v, g, i in values:
            a.blt(ZERO, g, f"{name} {i} open")
            a.li(v, 0)
            a.label(f"{name} {i} open")
            a.sw(v, 4 * i, out)

    elements(a, "word", n, left, 8, {x: 4, gate: 4, out: 4}, body)


def sgd(a: Rv32Function) -> None:
    value, grad, velocity, n, limit, low, count = A0, A1, A2, A3, A4, A5, A6
    v, w, t, step = T0, T1, T2, T3
    momentum, lr = (A7, S0, S1, S2), (S3, S4, S5, S6)  # mult, shift, low and high
    a.arguments(value=value, grad=grad, velocity=velocity, n=n, limit=limit, count=count)
    a.sub(low, ZERO, limit)
    for name, (mult, shift, *rounding) in (("momentum", momentum), ("lr", lr)):
        a.argument(mult, name)
        a.argument(shift, name + "_shift")
        halves(a, name + " ", shift, *rounding)

    def product(of: tuple[int, int, int, int]) -> None:
        """v = v * that, rounded"""
        mult, shift, low, high = of
        scaled(a, v, w, t, mult, low)
        a.add(v, v, high)
        a.sra(v, v, shift)

    a.label("word")
    a.lw(step, 0, grad)
    a.sw(ZERO, 0, grad)
    a.mv(v, step)
    a.beq(momentum[0], ZERO, "step")
    a.lw(v, 0, velocity)
    product(momentum)
    a.add(v, v, step)
    saturate(a, "velocity", v, limit, low, count, t)
    a.sw(v, 0, velocity)
    a.addi(velocity, velocity, 4)
    a.label("step")
    a.lw(step, 0, value)
    product(lr)
    a.sub(v, step, v)
    saturate(a, "value", v, limit, low, count, t)
    a.sw(v, 0, value)
    for pointer in (value, grad):
        a.addi(pointer, pointer, 4)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "word")


def squares(a: Rv32Function) -> None:
    total, x, n, shift, left = A0, A1, A2, A3, A4
    a.arguments(x=x, n=n, shift=shift)
    a.li(total, 0)

    def body(places: range, _: str) -> None:
        values = [*zip((T0, T1), places, strict=False)]
        for v, i in values:
            a.lw(v, 4 * i, x)
        for v, _i in values:
            a.sra(v, v, shift)
            a.mul(v, v, v)
            a.add(total, total, v)

    elements(a, "word", n, left, 8, {x: 4}, body)
