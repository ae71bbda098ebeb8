"""Functions of one int8 value on RV32IM: attn8/forms/viper/lookup.py says what it computes."""

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, A6
from .common_rv32 import elements


def lookup(a: Rv32Function) -> None:
    x, table, out, n, t = A0, A1, A2, A3, A4
    a.arguments(x=x, table=table, out=out, n=n)

    def body(places: range, _: str) -> None:
        values = [*zip((A5, A6), places, strict=False)]
        for v, i in values:
            a.lbu(v, i, x)
        for v, _i in values:
            a.add(v, v, table)
        for v, _i in values:
            a.lbu(v, 0, v)
        for v, i in values:
            a.sb(v, i, out)

    elements(a, "value", n, t, 16, {x: 1, out: 1}, body)
