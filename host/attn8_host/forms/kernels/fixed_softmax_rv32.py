"""Softmax of training's fixed point on RV32IM: attn8/forms/viper/fixed_softmax.py says what each
kernel computes.

A product of 64 bits that is shifted right and rounded is its high word, once a constant is shifted
left, and the bit below. Shifts of constants are 15 to 31.
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
    S7,
    T0,
    T1,
    T2,
    T3,
    T4,
    ZERO,
)


def softmax(a: Rv32Function) -> None:
    total, score, out, table, rows, bytes_, mult, up = A0, A1, A2, A3, A4, A5, A6, A7
    limit, largest, end, at, last, one, half, rounding = S0, S1, S2, S3, S4, S5, S6, S7
    x, y, z, t, u = T0, T1, T2, T3, T4
    a.arguments(scores=score, out=out, offset=t, table=table, rows=rows, columns=bytes_)
    a.arguments(mult=mult, shift=u, up=up, limit=limit)
    a.slli(t, t, 2)
    a.add(out, out, t)
    a.slli(bytes_, bytes_, 2)
    a.li(t, 32)
    a.sub(t, t, u)
    a.sll(mult, mult, t)
    a.li(last, 255)
    a.lui(one, 8)
    a.li(rounding, 1)
    a.sll(rounding, rounding, up)
    a.srli(rounding, rounding, 1)
    a.label("row")
    a.add(end, score, bytes_)
    a.mv(at, score)
    a.lw(largest, 0, at)
    a.label("largest")
    a.lw(x, 0, at)
    a.addi(at, at, 4)
    a.bge(largest, x, "not larger")
    a.mv(largest, x)
    a.label("not larger")
    a.bne(at, end, "largest")
    a.li(total, 0)
    a.label("numerator")
    a.lw(x, 0, score)
    a.addi(score, score, 4)
    a.li(y, 0)
    a.sub(x, largest, x)
    a.blt(limit, x, "far")
    a.sll(x, x, up)
    a.mul(y, x, mult)
    a.mulhu(x, x, mult)
    a.srli(y, y, 31)
    a.add(x, x, y)
    a.srli(t, x, 7)
    a.andi(t, t, 255)
    a.slli(u, t, 1)
    a.add(u, u, table)
    a.lhu(y, 0, u)
    a.mv(z, one)
    a.beq(t, last, "last")
    a.lhu(z, 2, u)
    a.label("last")
    a.andi(t, x, 127)
    a.srai(x, x, 15)
    a.sub(z, y, z)
    a.mul(z, z, t)
    a.slli(y, y, 7)
    a.addi(x, x, 7)
    a.sub(y, y, z)
    a.srl(y, y, x)
    a.addi(y, y, 1)
    a.srli(y, y, 1)
    a.label("far")
    a.sw(y, 0, out)
    a.add(total, total, y)
    a.addi(out, out, 4)
    a.bne(score, end, "numerator")
    a.mv(end, out)
    a.sub(out, out, bytes_)
    a.srli(half, total, 1)
    a.label("weight")
    a.lw(x, 0, out)
    a.addi(out, out, 4)
    a.slli(x, x, 15)
    a.add(x, x, half)
    a.divu(x, x, total)
    a.slli(x, x, 1)
    a.add(x, x, rounding)
    a.sra(x, x, up)
    a.sw(x, -4, out)
    a.bne(out, end, "weight")
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def softmax_backward(a: Rv32Function) -> None:
    weight, d, rows, bytes_, limit, low, total, counted = A0, A1, A2, A3, A4, A5, A6, A7
    power, mask, mult, end, at = S0, S1, S2, S3, S4
    x, y, t, u = T0, T1, T2, T3
    a.arguments(weights=weight, offset=t, d=d, rows=rows, columns=bytes_, limit=limit, up=x)
    a.arguments(shift=y, mult=mult)
    a.slli(t, t, 2)
    a.add(weight, weight, t)
    a.slli(bytes_, bytes_, 2)
    a.sub(low, ZERO, limit)
    a.li(counted, 0)
    a.lui(mask, 0xFFFF0)
    a.addi(x, x, 15)
    a.li(power, 1)
    a.sll(power, power, x)
    a.li(t, 31)
    a.sub(t, t, y)
    a.sll(mult, mult, t)

    def scaled(factor: int) -> None:
        """x = x * factor >> 31, rounded; |x| < 2**30, factor up to 2**31."""
        a.slli(x, x, 1)
        a.mul(t, x, factor)
        a.mulhsu(x, x, factor)
        a.srli(t, t, 31)
        a.add(x, x, t)

    def saturated(name: str, v: int) -> None:
        def beyond() -> None:
            for side, bound in (("high", limit), ("low", low)):
                a.label(f"{name} too {side}")
                a.mv(v, bound)
                a.addi(counted, counted, 1)
                a.j(name + " within")

        a.blt(limit, v, name + " too high")
        a.blt(v, low, name + " too low")
        a.label(name + " within")
        a.seldom(beyond)

    a.label("row")
    a.add(end, d, bytes_)
    a.mv(at, d)
    a.li(total, 0)
    a.label("sum")
    a.lw(y, 0, weight)
    a.lw(x, 0, at)
    a.addi(weight, weight, 4)
    a.addi(at, at, 4)
    a.mul(y, y, power)
    a.and_(y, y, mask)
    scaled(y)
    a.add(total, total, x)
    saturated("sum", total)
    a.bne(at, end, "sum")
    a.sub(weight, weight, bytes_)
    a.label("gradient")
    a.lw(x, 0, d)
    a.lw(y, 0, weight)
    a.addi(d, d, 4)
    a.sub(x, x, total)
    saturated("difference", x)
    a.mul(y, y, power)
    a.and_(y, y, mask)
    scaled(y)
    scaled(mult)
    a.addi(weight, weight, 4)
    a.sw(x, -4, d)
    a.bne(d, end, "gradient")
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")
    a.arguments(count=t)
    a.lw(u, 0, t)
    a.add(u, u, counted)
    a.sw(u, 0, t)
