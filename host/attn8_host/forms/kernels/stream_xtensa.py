"""A stream of int16 on LX6 and LX7: attn8/forms/viper/stream.py says what each kernel computes.

Results go where values were only after these have been read.
"""

from ..mpy import XtensaFunction
from .common_xtensa import elements


def lowest(a: XtensaFunction, low: int, bits: int) -> None:
    """low = the least value of a format of so many bits beside the sign."""
    a.movi(low, -1)
    a.slli(low, low, bits)
    a.addi(low, low, 1)


def add(a: XtensaFunction) -> None:
    x, y, out, n, low, t = range(2, 8)
    a.arguments(a=x, b=y, out=out, n=n)
    lowest(a, low, 15)

    def body(places: range) -> None:
        values = [*zip((t, t + 2), (t + 1, t + 3), places, strict=False)]
        for v, w, i in values:
            a.l16si(v, x, 2 * i)
            a.l16si(w, y, 2 * i)
        for v, w, _ in values:
            a.add(v, v, w)
        for v, _, _ in values:
            a.clamps(v, v, 15)
        for v, _, _ in values:
            a.max(v, v, low)
        for v, _, i in values:
            a.s16i(v, out, 2 * i)

    elements(a, "value", n, t, 8, {x: 2, y: 2, out: 2}, body)


def widen(a: XtensaFunction) -> None:
    convert(a, 1, 2)


def narrow(a: XtensaFunction) -> None:
    convert(a, 2, 1)


def convert(a: XtensaFunction, takes: int, gives: int) -> None:
    """requant(x << 9) between values of so many bytes: x * mult has 30 bits, so that what is
    dropped of it before the last bit, which rounds, is dropped at once; beyond 31 all is sign.
    """
    x, out, n, mult, low, t = range(2, 8)
    a.arguments(x=x, out=out, n=n, mult=mult, shift=t)
    a.addi(t, t, -10)
    a.movi(low, 31)
    a.min(t, t, low)
    a.ssr(t)
    lowest(a, low, 8 * gives - 1)

    def body(places: range) -> None:
        values = [*zip((t, t + 1), places, strict=False)]
        for v, i in values:
            if takes == 2:
                a.l16si(v, x, 2 * i)
            else:
                a.l8ui(v, x, i)
        for v, _ in values:
            if takes == 1:
                a.sext(v, v, 7)
        for v, _ in values:
            a.mull(v, v, mult)
        for v, _ in values:
            a.sra(v, v)
            a.addi(v, v, 1)
            a.srai(v, v, 1)
            a.clamps(v, v, 8 * gives - 1)
            a.max(v, v, low)
        for v, i in values:
            if gives == 2:
                a.s16i(v, out, 2 * i)
            else:
                a.s8i(v, out, i)

    elements(a, "value", n, t, 8, {x: takes, out: gives}, body)


def settle(a: XtensaFunction) -> None:
    """2*x * (mult << 16) has in its high word what requant drops 15 bits of: |x| < 2**30."""
    x, out, rows, columns, mult, shift, low, t = range(2, 10)
    a.arguments(x=x, out=out, rows=rows, columns=columns)
    lowest(a, low, 15)

    def body(places: range) -> None:
        values = [*zip((t, t + 3), (t + 1, t + 4), (t + 2, t + 5), places, strict=False)]
        for v, m, s, i in values:
            a.l32i(v, x, 4 * i)
            a.l16ui(m, mult, 2 * i)
            a.l8ui(s, shift, i)
        for v, m, s, _ in values:
            a.add(v, v, v)
            a.slli(m, m, 16)
            a.addi(s, s, -16)
        for v, m, _, _ in values:
            a.mulsh(v, v, m)
        for v, _, s, _ in values:
            a.ssr(s)
            a.sra(v, v)
        for v, _, _, i in values:
            a.addi(v, v, 1)
            a.srai(v, v, 1)
            a.clamps(v, v, 15)
            a.max(v, v, low)
            a.s16i(v, out, 2 * i)

    a.label("row")
    a.arguments(mult=mult, shift=shift)
    elements(a, "value", columns, t, 4, {x: 4, out: 2, mult: 2, shift: 1}, body)
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")
