"""Normalization on an LX7 without MAC16: attn8/forms/viper/norm.py says what it computes."""

from ..mpy import XtensaFunction
from .norm_xtensa import HIGH, LOW, REST, ROOT, SPARE, TOTAL, UP, N, T, U, X, normalized, statistics

__all__ = ["SPARE", "norm"]


def norm(a: XtensaFunction) -> None:
    statistics(a, lambda a: None, sums)
    normalized(a)


def sums(a: XtensaFunction) -> None:
    """TOTAL, of a row, and that of squares, HIGH and LOW; two squares are below 2**32."""
    values = (T, REST, UP, ROOT)
    a.movi(TOTAL, 0)
    a.movi(LOW, 0)
    a.movi(HIGH, 0)

    def add(square: int, name: str) -> None:
        a.add(LOW, LOW, square)
        a.branch("geu", LOW, square, name)
        a.addi(HIGH, HIGH, 1)
        a.label(name)

    for count in (4, 1):
        name = f"sum by {count}"
        if count == 4:
            a.srli(U, N, 2)
        else:
            a.extui(U, N, 0, 2)
        a.beqz(U, name + " done")
        a.label(name)
        for i, v in enumerate(values[:count]):
            a.l16si(v, X, 2 * i)
        for v in values[:count]:
            a.add(TOTAL, TOTAL, v)
        for v in values[:count]:
            a.mull(v, v, v)
        a.addi(X, X, 2 * count)
        for first in range(0, count, 2):
            if count > 1:
                a.add(values[first], values[first], values[first + 1])
            add(values[first], f"{name}, no carry {first}")
        a.addi(U, U, -1)
        a.bnez(U, name)
        a.label(name + " done")
