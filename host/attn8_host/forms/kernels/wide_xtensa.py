"""int16 on LX6 and LX7 where other kernels take int8: attn8/forms/viper/wide.py says what each
kernel computes.
"""

from ..mpy import XtensaFunction
from .common_xtensa import elements


def relu(a: XtensaFunction) -> None:
    x, out, n, zero, t = range(2, 7)
    a.arguments(x=x, out=out, n=n)
    a.movi(zero, 0)

    def body(places: range) -> None:
        values = [*zip((t, t + 1), places, strict=False)]
        for v, i in values:
            a.l16si(v, x, 2 * i)
        for v, i in values:
            a.max(v, v, zero)
            a.s16i(v, out, 2 * i)

    elements(a, "value", n, t, 8, {x: 2, out: 2}, body)


def interpolate(a: XtensaFunction) -> None:
    x, table, out, n, t = range(2, 7)
    a.arguments(x=x, table=table, out=out, n=n)
    a.addmi(table, table, 512)  # where x is 0

    def body(places: range) -> None:
        values = [*zip((t, t + 3), (t + 1, t + 4), (t + 2, t + 5), places, strict=False)]
        for v, _, _, i in values:
            a.l16si(v, x, 2 * i)
        for v, y, z, _ in values:
            a.srai(z, v, 7)
            a.addx2(z, z, table)
            a.l16si(y, z)
            a.l16si(z, z, 2)
            a.extui(v, v, 0, 7)
        for v, y, z, i in values:
            a.sub(z, z, y)
            a.mull(z, z, v)
            a.addi(z, z, 64)
            a.srai(z, z, 7)
            a.add(y, y, z)
            a.s16i(y, out, 2 * i)

    elements(a, "value", n, t, 4, {x: 2, out: 2}, body)


def multiply(a: XtensaFunction) -> None:
    x, y, out, n, mult, most, low, t = range(2, 10)
    a.arguments(a=x, b=y, out=out, n=n, mult=mult, shift=t, most=most)
    a.addi(t, t, -16)
    a.ssr(t)
    a.neg(low, most)
    a.movi(t, 255)
    a.branch("ge", t, most, "narrow")
    a.j("int16")
    a.label("narrow")
    _products(a, "int8", (x, y, out, n, mult, most, low, t), 1)
    a.j("done")
    a.label("int16")
    _products(a, "int16", (x, y, out, n, mult, most, low, t), 2)
    a.label("done")


def _products(a: XtensaFunction, name: str, registers: tuple[int, ...], gives: int) -> None:
    """Results of so many bytes; what requant drops 15 bits of is joined by hand, as SAR holds its
    shift."""
    x, y, out, n, mult, most, low, t = registers

    def body(places: range) -> None:
        values = [*zip((t, t + 2), (t + 1, t + 3), places, strict=False)]
        for v, w, i in values:
            a.l16si(v, x, 2 * i)
            a.l16si(w, y, 2 * i)
        for v, w, _ in values:
            a.mull(v, v, w)
        for v, w, _ in values:
            a.mulsh(w, v, mult)
            a.mull(v, v, mult)
        for v, w, i in values:
            a.slli(w, w, 17)
            a.srli(v, v, 15)
            a.or_(v, v, w)
            a.sra(v, v)
            a.addi(v, v, 1)
            a.srai(v, v, 1)
            a.min(v, v, most)
            a.max(v, v, low)
            (a.s8i, a.s16i)[gives - 1](v, out, gives * i)

    elements(a, name, n, t, 4, {x: 2, y: 2, out: gives}, body)
