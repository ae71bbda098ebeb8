"""int16 on RV32IM where other kernels take int8: attn8/forms/viper/wide.py says what each kernel
computes.
"""

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, A6, A7, S0, S1, S2, S3, T0, T1, T2, ZERO
from .common_rv32 import elements, settle

LOW, HIGH, LEFT = T0, T1, T2  # LEFT: turns of the inner loop


def relu(a: Rv32Function) -> None:
    x, out, n = A0, A1, A2
    a.arguments(x=x, out=out, n=n)

    def body(places: range, name: str) -> None:
        values = [*zip((A3, A5), (A4, A6), places, strict=False)]
        for v, _, i in values:
            a.lh(v, 2 * i, x)
        for v, w, i in values:
            a.srai(w, v, 31)
            a.xori(w, w, -1)
            a.and_(v, v, w)
            a.sh(v, 2 * i, out)

    elements(a, "value", n, LEFT, 8, {x: 2, out: 2}, body)


def interpolate(a: Rv32Function) -> None:
    x, table, out, n = A0, A1, A2, A3
    a.arguments(x=x, table=table, out=out, n=n)
    a.addi(table, table, 512)  # where x is 0

    def body(places: range, name: str) -> None:
        values = [*zip((A4, A7), (A5, S0), (A6, S1), places, strict=False)]
        for v, _, _, i in values:
            a.lh(v, 2 * i, x)
        for v, y, z, _ in values:
            a.srai(z, v, 7)
            a.slli(z, z, 1)
            a.add(z, z, table)
            a.lh(y, 0, z)
            a.lh(z, 2, z)
            a.andi(v, v, 127)
        for v, y, z, i in values:
            a.sub(z, z, y)
            a.mul(z, z, v)
            a.addi(z, z, 64)
            a.srai(z, z, 7)
            a.add(y, y, z)
            a.sh(y, 2 * i, out)

    elements(a, "value", n, LEFT, 8, {x: 2, out: 2}, body)


def multiply(a: Rv32Function) -> None:
    x, y, out, n, mult, shift = A0, A1, A2, A3, A4, A5
    a.arguments(a=x, b=y, out=out, n=n, mult=mult, shift=shift, most=HIGH)
    a.slli(mult, mult, 17)
    a.addi(shift, shift, -16)
    a.sub(LOW, ZERO, HIGH)
    a.li(A6, 255)
    a.blt(A6, HIGH, "int16")
    _products(a, "int8", 1)
    a.j("done")
    a.label("int16")
    _products(a, "int16", 2)
    a.label("done")


def _products(a: Rv32Function, form: str, gives: int) -> None:
    """Results of so many bytes."""
    x, y, out, n, mult, shift = A0, A1, A2, A3, A4, A5

    def body(places: range, name: str) -> None:
        values = [*zip((A6, S2), (A7, S3), places, strict=False)]
        for v, w, i in values:
            a.lh(v, 2 * i, x)
            a.lh(w, 2 * i, y)
        for v, w, _ in values:
            a.mul(v, v, w)
        for v, _, i in values:
            settle(a, f"{name} {i}", v, mult, shift, HIGH, LOW)
        for v, _, i in values:
            (a.sb, a.sh)[gives - 1](v, gives * i, out)

    elements(a, form, n, LEFT, 4, {x: 2, y: 2, out: gives}, body)
