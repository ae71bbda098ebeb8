"""A stream of int16 on RV32IM: attn8/forms/viper/stream.py says what each kernel computes.

Results go where values were only after these have been read.
"""

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, A6, A7, S0, S1, S2, S3, T0, T1, T2, ZERO
from .common_rv32 import clamp, elements

LOW, HIGH, LEFT = T0, T1, T2  # LEFT: turns of the inner loop


def limits(a: Rv32Function, bits: int) -> None:
    """LOW and HIGH = the limits of a format of so many bits beside the sign."""
    a.li(LOW, -1)
    a.slli(LOW, LOW, bits)
    a.addi(LOW, LOW, 1)
    a.sub(HIGH, ZERO, LOW)


def add(a: Rv32Function) -> None:
    x, y, out, n = A0, A1, A2, A3
    a.arguments(a=x, b=y, out=out, n=n)
    limits(a, 15)

    def body(places: range, name: str) -> None:
        values = [*zip((A4, A6), (A5, A7), places, strict=False)]
        for v, w, i in values:
            a.lh(v, 2 * i, x)
            a.lh(w, 2 * i, y)
        for v, w, _ in values:
            a.add(v, v, w)
        for v, _, i in values:
            clamp(a, f"{name} {i}", v, HIGH, LOW)
        for v, _, i in values:
            a.sh(v, 2 * i, out)

    elements(a, "value", n, LEFT, 16, {x: 2, y: 2, out: 2}, body)


def widen(a: Rv32Function) -> None:
    convert(a, 1, 2)


def narrow(a: Rv32Function) -> None:
    convert(a, 2, 1)


def convert(a: Rv32Function, takes: int, gives: int) -> None:
    """requant(x << 9) between values of so many bytes: x * mult has 30 bits, so that what is
    dropped of it before the last bit, which rounds, is dropped at once; beyond 31 all is sign.
    """
    x, out, n, mult, shift = A0, A1, A2, A3, A4
    a.arguments(x=x, out=out, n=n, mult=mult, shift=shift)
    a.addi(shift, shift, -10)
    a.li(A5, 31)
    a.bge(A5, shift, "no further")
    a.mv(shift, A5)
    a.label("no further")
    limits(a, 8 * gives - 1)

    def body(places: range, name: str) -> None:
        values = [*zip((A5, A6), places, strict=False)]
        for v, i in values:
            (a.lb, a.lh)[takes - 1](v, takes * i, x)
        for v, _ in values:
            a.mul(v, v, mult)
        for v, i in values:
            a.sra(v, v, shift)
            a.addi(v, v, 1)
            a.srai(v, v, 1)
            clamp(a, f"{name} {i}", v, HIGH, LOW)
        for v, i in values:
            (a.sb, a.sh)[gives - 1](v, gives * i, out)

    elements(a, "value", n, LEFT, 8, {x: takes, out: gives}, body)


def settle(a: Rv32Function) -> None:
    """2*x * (mult << 16) has in its high word what requant drops 15 bits of: |x| < 2**30."""
    x, out, rows, columns, mult, shift = A0, A1, A2, A3, A4, A5
    a.arguments(x=x, out=out, rows=rows, columns=columns)
    limits(a, 15)

    def body(places: range, name: str) -> None:
        values = [*zip((A6, S1), (A7, S2), (S0, S3), places, strict=False)]
        for v, m, s, i in values:
            a.lw(v, 4 * i, x)
            a.lhu(m, 2 * i, mult)
            a.lbu(s, i, shift)
        for v, m, s, _ in values:
            a.slli(v, v, 1)
            a.slli(m, m, 16)
            a.addi(s, s, -16)
        for v, m, _, _ in values:
            a.mulh(v, v, m)
        for v, _, s, i in values:
            a.sra(v, v, s)
            a.addi(v, v, 1)
            a.srai(v, v, 1)
            clamp(a, f"{name} {i}", v, HIGH, LOW)
        for v, _, _, i in values:
            a.sh(v, 2 * i, out)

    a.label("row")
    a.arguments(mult=mult, shift=shift)
    elements(a, "value", columns, LEFT, 4, {x: 4, out: 2, mult: 2, shift: 1}, body)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")
