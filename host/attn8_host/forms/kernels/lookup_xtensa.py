"""Functions of one int8 value on LX6 and LX7: attn8/forms/viper/lookup.py says what it computes."""

from ..mpy import XtensaFunction
from .common_xtensa import elements


def lookup(a: XtensaFunction) -> None:
    x, table, out, n, t = range(2, 7)
    a.arguments(x=x, table=table, out=out, n=n)

    def body(places: range) -> None:
        values = [*zip((t, t + 1), places, strict=False)]
        for v, i in values:
            a.l8ui(v, x, i)
        for v, _ in values:
            a.add(v, v, table)
        for v, _ in values:
            a.l8ui(v, v)
        for v, i in values:
            a.s8i(v, out, i)

    elements(a, "value", n, t, 16, {x: 1, out: 1}, body)
