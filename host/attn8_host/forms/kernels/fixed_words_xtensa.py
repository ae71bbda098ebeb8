"""Training's fixed point word by word on LX6 and LX7: attn8/forms/viper/fixed_words.py says what
each kernel computes.
"""

from ..mpy import XtensaFunction
from .common_xtensa import elements, half_of

SPARE = {"sgd": tuple(f"{name} {half}" for name in ("momentum_shift", "lr_shift")
                      for half in ("low", "high"))}


def peak(a: XtensaFunction) -> None:
    highest, x, n, lowest, t = range(2, 7)
    a.arguments(x=x, n=n)
    a.movi(highest, 0)
    a.movi(lowest, -1)

    def body(places: range) -> None:
        values = [*zip((t, t + 1), places, strict=False)]
        for v, i in values:
            a.l32i(v, x, 4 * i)
        for v, _ in values:
            a.max(highest, highest, v)
            a.min(lowest, lowest, v)

    elements(a, "word", n, t, 8, {x: 4}, body)
    a.neg(lowest, lowest)
    a.addi(lowest, lowest, -1)
    a.max(highest, highest, lowest)


def spread(a: XtensaFunction) -> None:
    x, out, rows, columns, t = range(2, 7)
    a.arguments(out=out, rows=rows, columns=columns)
    a.addi(t, columns, -1)
    a.beqz(t, "one column")

    def body(places: range) -> None:
        values = [*zip((t, t + 1), places, strict=False)]
        for v, i in values:
            a.l32i(v, x, 4 * i)
        for v, i in values:
            a.s32i(v, out, 4 * i)

    a.label("row")
    a.arguments(x=x)
    elements(a, "word", columns, t, 8, {x: 4, out: 4}, body)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")
    a.j("done")
    a.label("one column")
    a.arguments(x=x)
    a.l32i(x, x)

    def fill(places: range) -> None:
        for i in places:
            a.s32i(x, out, 4 * i)

    elements(a, "row of one", rows, t, 8, {out: 4}, fill)
    a.label("done")


def saturate(
    a: XtensaFunction, name: str, v: int, limit: int, low: int, counted: int, t: int
) -> None:
    """v within +-limit; `counted` grows by one where that changes v."""
    a.mov(t, v)
    a.min(v, v, limit)
    a.max(v, v, low)
    a.branch("eq", t, v, name + " within")
    a.addi(counted, counted, 1)
    a.label(name + " within")


def column_sums(a: XtensaFunction) -> None:
    x, out, rows, columns, limit, low, stride, at, total, v, t, counted = range(2, 14)
    a.arguments(x=x, out=out, rows=rows, columns=columns, limit=limit)
    a.neg(low, limit)
    a.slli(stride, columns, 2)
    a.movi(counted, 0)
    a.label("column")
    a.mov(at, x)
    a.l32i(total, out)
    a.loopnez(rows, "row")
    a.l32i(v, at)
    a.add(at, at, stride)
    a.add(total, total, v)
    saturate(a, "sum", total, limit, low, counted, t)
    a.nop()
    a.label("row")
    a.s32i(total, out)
    a.addi(out, out, 4)
    a.addi(x, x, 4)
    a.addi(columns, columns, -1)
    a.bnez(columns, "column")
    count(a, counted, t, v)


def count(a: XtensaFunction, counted: int, t: int, u: int) -> None:
    """count[0] += counted"""
    a.arguments(count=t)
    a.l32i(u, t)
    a.add(u, u, counted)
    a.s32i(u, t)


def add(a: XtensaFunction) -> None:
    x, y, out, n, negate, limit, low, counted, t, v, w = range(2, 13)
    a.arguments(x=x, y=y, out=out, n=n, negate=negate, limit=limit)
    a.neg(low, limit)
    a.movi(counted, 0)
    a.loopnez(n, "word")
    a.l32i(w, y)
    a.l32i(v, x)
    a.addi(x, x, 4)
    a.xor(w, w, negate)
    a.sub(w, w, negate)
    a.add(v, v, w)
    saturate(a, "sum", v, limit, low, counted, t)
    a.s32i(v, out)
    a.addi(y, y, 4)
    a.addi(out, out, 4)
    a.label("word")
    count(a, counted, t, v)


def scale(a: XtensaFunction) -> None:
    x, out, n, mult, shift, high, low, v, w = range(2, 11)
    a.arguments(x=x, out=out, n=n, mult=mult, shift=shift)
    halves(a, "", shift, low, high)
    a.loopnez(n, "word")
    a.l32i(v, x)
    a.addi(x, x, 4)
    scaled(a, "word", v, w, mult, low)
    a.ssr(shift)
    a.add(v, v, high)
    a.sra(v, v)
    a.s32i(v, out)
    a.addi(out, out, 4)
    a.label("word")


def halves(a: XtensaFunction, name: str, shift: int, low: int, high: int) -> None:
    """A shift becomes what is left of it behind `scaled`; low and high round in either."""
    a.addi(shift, shift, -15)
    half_of(a, high, shift)
    a.movi(low, 0)
    a.bnez(shift, name + "shifted")
    a.movi(low, 1)
    a.slli(low, low, 14)
    a.label(name + "shifted")


def scaled(a: XtensaFunction, name: str, v: int, w: int, mult: int, low: int) -> None:
    """v = v*mult + low >> 15, from all 64 bits of the product."""
    a.mulsh(w, v, mult)
    a.mull(v, v, mult)
    a.add(v, v, low)
    a.branch("geu", v, low, name + " without carry")
    a.addi(w, w, 1)
    a.label(name + " without carry")
    a.ssai(15)
    a.src(v, w, v)


def relu(a: XtensaFunction) -> None:
    x, gate, out, n, zero, v, g = range(2, 9)
    a.arguments(x=x, gate=gate, out=out, n=n)
    a.movi(zero, 0)
    a.loopnez(n, "word")
    a.l32i(g, gate)
    a.l32i(v, x)
    a.addi(gate, gate, 4)
    a.branch("lt", zero, g, "open")
    a.mov(v, zero)
    a.label("open")
    a.s32i(v, out)
    a.addi(x, x, 4)
    a.addi(out, out, 4)
    a.label("word")


def sgd(a: XtensaFunction) -> None:
    value, grad, velocity, n, momentum, lr, limit, low, counted, v, w, t, u = range(2, 15)
    for name in ("momentum_shift", "lr_shift"):
        a.argument(v, name)
        halves(a, name + " ", v, t, u)
        a.keep(v, name)
        a.keep(t, name + " low")
        a.keep(u, name + " high")
    a.arguments(value=value, grad=grad, velocity=velocity, n=n, momentum=momentum, lr=lr)
    a.arguments(limit=limit)
    a.neg(low, limit)
    a.movi(counted, 0)

    def product(mult: int, shift: str) -> None:
        """v = v*mult, rounded"""
        a.argument(t, shift + " low")
        scaled(a, shift, v, w, mult, t)
        a.argument(w, shift)
        a.argument(t, shift + " high")
        a.ssr(w)
        a.add(v, v, t)
        a.sra(v, v)

    a.loopnez(n, "word")
    a.l32i(u, grad)
    a.movi(t, 0)
    a.s32i(t, grad)
    a.mov(v, u)
    a.beqz(momentum, "step")
    a.l32i(v, velocity)
    product(momentum, "momentum_shift")
    a.add(v, v, u)
    saturate(a, "velocity", v, limit, low, counted, t)
    a.s32i(v, velocity)
    a.addi(velocity, velocity, 4)
    a.label("step")
    product(lr, "lr_shift")
    a.l32i(u, value)
    a.addi(grad, grad, 4)
    a.sub(v, u, v)
    saturate(a, "value", v, limit, low, counted, t)
    a.s32i(v, value)
    a.addi(value, value, 4)
    a.label("word")
    count(a, counted, t, v)


def squares(a: XtensaFunction) -> None:
    total, x, n, shift, v = range(2, 7)
    a.arguments(x=x, n=n, shift=shift)
    a.movi(total, 0)
    a.ssr(shift)
    a.loopnez(n, "word")
    a.l32i(v, x)
    a.addi(x, x, 4)
    a.sra(v, v)
    a.mull(v, v, v)
    a.add(total, total, v)
    a.label("word")
