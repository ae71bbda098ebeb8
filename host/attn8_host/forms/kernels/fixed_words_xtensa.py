"""Training's fixed point word by word on LX6 and LX7: attn8/forms/viper/fixed_words.py says what
each kernel computes.
"""

from ..mpy import XtensaFunction
from .common_xtensa import elements, half_of


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
    """x*mult >> 15 from all 64 bits of the product."""
    x, out, n, mult, shift, high, low, v, w = range(2, 11)
    a.arguments(x=x, out=out, n=n, mult=mult, shift=shift)
    a.addi(shift, shift, -15)
    half_of(a, high, shift)
    a.movi(low, 0)
    a.bnez(shift, "shifted")
    a.movi(low, 1)
    a.slli(low, low, 14)
    a.label("shifted")
    a.loopnez(n, "word")
    a.l32i(v, x)
    a.addi(x, x, 4)
    a.mulsh(w, v, mult)
    a.mull(v, v, mult)
    a.add(v, v, low)
    a.branch("geu", v, low, "no carry")
    a.addi(w, w, 1)
    a.label("no carry")
    a.ssai(15)
    a.src(v, w, v)
    a.ssr(shift)
    a.add(v, v, high)
    a.sra(v, v)
    a.s32i(v, out)
    a.addi(out, out, 4)
    a.label("word")


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
