"""Rotary positions and rows of a cache on RV32IM: attn8/forms/viper/rotary.py says what each kernel
computes.
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
    ZERO,
)
from .common_rv32 import clamp


def rotate(a: Rv32Function) -> None:
    x, turns, sines, position, heads, left, high, low = A0, A1, A2, A3, A4, A5, A6, A7
    sin, cos, phase, i, v, t, u, stride, half = S0, S1, S2, S3, S4, T0, T1, S5, S6
    a.arguments(q=x, turns=turns, sines=sines, position=position, heads=heads, head_dim=left,
                most=high)
    a.sub(low, ZERO, high)
    a.slli(stride, left, 1)
    a.srli(left, left, 1)
    a.lui(half, 2)  # 8192
    a.label("pair")
    a.lw(phase, 0, turns)
    a.addi(turns, turns, 4)
    a.mul(phase, phase, position)
    sine(a, "sine", sin, phase, sines, (i, v, t, u))
    a.lui(t, 1 << 18)  # a quarter of a turn
    a.add(phase, phase, t)
    sine(a, "cosine", cos, phase, sines, (i, v, t, u))
    pair, n = phase, S7
    for name in "q", "k":
        if name == "q":
            a.mv(pair, x)
            a.addi(x, x, 4)
            a.mv(n, heads)
        else:
            a.arguments(k=pair, kv_heads=n)
            a.addi(t, pair, 4)
            a.keep(t, "k")
        a.label("head of " + name)
        a.lh(i, 0, pair)
        a.lh(v, 2, pair)
        a.mul(t, i, cos)
        a.mul(u, v, sin)
        a.mul(i, i, sin)
        a.mul(v, v, cos)
        a.sub(t, t, u)
        a.add(u, i, v)
        for place, value in enumerate((t, u)):
            a.add(value, value, half)
            a.srai(value, value, 14)
            clamp(a, f"{name} {place}", value, high, low)
            a.sh(value, 2 * place, pair)
        a.add(pair, pair, stride)
        a.addi(n, n, -1)
        a.bne(n, ZERO, "head of " + name)
    a.addi(left, left, -1)
    a.bne(left, ZERO, "pair")


def sine(
    a: Rv32Function, name: str, out: int, phase: int, sines: int,
    registers: tuple[int, int, int, int],
) -> None:
    """out = the sine of `phase` in 2**-32 turns, on the line between two of `sines`."""
    i, v, t, u = registers

    def step(name: str, to: int) -> None:
        a.andi(t, i, 255)
        a.li(u, 256)
        a.sub(u, u, t)
        a.bge(u, t, name + " rises")
        a.mv(t, u)
        a.label(name + " rises")
        a.slli(t, t, 1)
        a.add(t, t, sines)
        a.lh(to, 0, t)
        a.andi(t, i, 256)
        a.beq(t, ZERO, name + " is positive")
        a.sub(to, ZERO, to)
        a.label(name + " is positive")

    a.srli(i, phase, 23)
    step(name + " below", out)
    a.addi(i, i, 1)
    step(name + " above", v)
    a.sub(v, v, out)
    a.slli(t, phase, 9)
    a.srli(t, t, 20)
    a.mul(v, v, t)
    a.lui(u, 1)
    a.srli(u, u, 1)
    a.add(v, v, u)
    a.srai(v, v, 12)
    a.add(out, out, v)


def put(a: Rv32Function) -> None:
    x, centre, cache, steps, heads, d, high, low = A0, A1, A2, A3, A4, A5, A6, A7
    step, p, v, t, half, end, one, size = S0, S1, S2, S3, S4, T0, T1, T2
    a.arguments(x=x, centre=centre, cache=cache, steps=steps, slot=v, heads=heads, head_dim=d,
                most=high)
    a.mul(v, v, heads)
    a.add(steps, steps, v)
    a.mul(v, v, d)
    a.add(cache, cache, v)
    a.sub(low, ZERO, high)
    a.slli(size, d, 1)
    a.li(one, 127)
    a.label("head")
    largest = step
    a.li(largest, 0)
    a.mv(p, x)
    a.add(end, x, size)
    a.label("largest")
    a.lh(v, 0, p)
    a.lh(t, 0, centre)
    a.addi(centre, centre, 2)
    a.sub(v, v, t)
    clamp(a, "key", v, high, low)
    a.sh(v, 0, p)
    a.addi(p, p, 2)
    a.srai(t, v, 31)
    a.xor(v, v, t)
    a.sub(v, v, t)
    a.bge(largest, v, "not larger")
    a.mv(largest, v)
    a.label("not larger")
    a.bne(p, end, "largest")
    a.addi(step, largest, 126)
    a.divu(step, step, one)
    a.bne(step, ZERO, "not all zeros")
    a.li(step, 1)
    a.label("not all zeros")
    a.sb(step, 0, steps)
    a.addi(steps, steps, 1)
    a.mul(half, step, one)
    a.srli(t, step, 1)
    a.add(half, half, t)
    a.label("value")
    a.lh(v, 0, x)
    a.addi(x, x, 2)
    a.add(v, v, half)
    a.divu(v, v, step)
    a.addi(v, v, -127)
    a.sb(v, 0, cache)
    a.addi(cache, cache, 1)
    a.bne(x, end, "value")
    a.addi(heads, heads, -1)
    a.bne(heads, ZERO, "head")
