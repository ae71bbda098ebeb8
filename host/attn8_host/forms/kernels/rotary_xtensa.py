"""Rotary positions and rows of a cache on LX6 and LX7: attn8/forms/viper/rotary.py says what each
kernel computes.
"""

from ..mpy import XtensaFunction


def rotate(a: XtensaFunction) -> None:
    x, turns, left, sines, sin, cos, phase, i, v, t, u, most, low, stride = range(2, 16)
    a.arguments(q=x, turns=turns, sines=sines, head_dim=left, most=most)
    a.neg(low, most)
    a.slli(stride, left, 1)
    a.srli(left, left, 1)
    a.label("pair")
    a.l32i(phase, turns)
    a.addi(turns, turns, 4)
    a.arguments(position=t)
    a.mull(phase, phase, t)
    sine(a, sin, phase, sines, (i, v, t, u))
    a.movi(t, 1)
    a.slli(t, t, 30)  # a quarter of a turn
    a.add(phase, phase, t)
    sine(a, cos, phase, sines, (i, v, t, u))
    pair, one, other = phase, i, v
    for name in "q", "k":
        if name == "q":
            a.mov(pair, x)
            a.addi(x, x, 4)
            a.arguments(heads=u)
        else:
            a.arguments(k=pair, kv_heads=u)
            a.addi(t, pair, 4)
            a.keep(t, "k")
        a.loopnez(u, "head of " + name)
        a.l16si(one, pair)
        a.l16si(other, pair, 2)
        a.mull(t, one, cos)
        a.mull(u, other, sin)
        a.sub(t, t, u)
        store(a, t, pair, 0, most, low)
        a.mull(t, one, sin)
        a.mull(u, other, cos)
        a.add(t, t, u)
        store(a, t, pair, 2, most, low)
        a.add(pair, pair, stride)
        a.label("head of " + name)
    a.addi(left, left, -1)
    a.bnez(left, "pair")


def store(a: XtensaFunction, t: int, pair: int, place: int, most: int, low: int) -> None:
    """t, in steps of 2**-14, rounded and within +-most."""
    a.addmi(t, t, 8192)
    a.srai(t, t, 14)
    a.min(t, t, most)
    a.max(t, t, low)
    a.s16i(t, pair, place)


def sine(
    a: XtensaFunction, out: int, phase: int, sines: int, registers: tuple[int, int, int, int]
) -> None:
    """out = the sine of `phase` in 2**-32 turns, on the line between two of `sines`."""
    i, v, t, u = registers

    def step(to: int) -> None:
        a.extui(t, i, 0, 8)
        a.movi(u, 256)
        a.sub(u, u, t)
        a.min(t, t, u)
        a.addx2(t, t, sines)
        a.l16si(to, t)
        a.extui(t, i, 8, 1)
        a.neg(u, to)
        a.movnez(to, u, t)

    a.extui(i, phase, 23, 9)
    step(out)
    a.addi(i, i, 1)
    step(v)
    a.sub(v, v, out)
    a.extui(t, phase, 11, 12)
    a.mull(v, v, t)
    a.addmi(v, v, 2048)
    a.srai(v, v, 12)
    a.add(out, out, v)


def put(a: XtensaFunction) -> None:
    x, centre, cache, steps, heads, d, most, low, step, p, v, t, half = range(2, 15)
    a.arguments(x=x, centre=centre, cache=cache, steps=steps, slot=v, heads=heads, head_dim=d,
                most=most)
    a.mull(v, v, heads)
    a.add(steps, steps, v)
    a.mull(v, v, d)
    a.add(cache, cache, v)
    a.neg(low, most)
    a.label("head")
    largest = step
    a.movi(largest, 0)
    a.mov(p, x)
    a.loopnez(d, "largest")
    a.l16si(v, p)
    a.l16si(t, centre)
    a.addi(centre, centre, 2)
    a.sub(v, v, t)
    a.min(v, v, most)
    a.max(v, v, low)
    a.s16i(v, p)
    a.addi(p, p, 2)
    a.neg(t, v)
    a.max(largest, largest, v)
    a.max(largest, largest, t)
    a.label("largest")
    a.addi(step, largest, 126)
    a.movi(t, 127)
    a.quou(step, step, t)
    a.movi(t, 1)
    a.max(step, step, t)
    a.s8i(step, steps)
    a.addi(steps, steps, 1)
    a.slli(half, step, 7)
    a.sub(half, half, step)
    a.srli(t, step, 1)
    a.add(half, half, t)
    a.loopnez(d, "value")
    a.l16si(v, x)
    a.addi(x, x, 2)
    a.add(v, v, half)
    a.quou(v, v, step)
    a.addi(v, v, -127)
    a.s8i(v, cache)
    a.addi(cache, cache, 1)
    a.label("value")
    a.addi(heads, heads, -1)
    a.bnez(heads, "head")
