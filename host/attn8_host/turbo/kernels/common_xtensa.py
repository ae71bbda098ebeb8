"""Pieces that several Xtensa kernels use."""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL


def widen(a: XtensaFunction, source: int, target: int, places: tuple[int, ...], t: int) -> None:
    """int8 at source -> int16 at target, `places` being offsets in bytes; neither moves."""
    for i, place in enumerate(places):
        a.l8ui(t, source, i)
        a.sext(t, t, 7)
        a.s16i(t, target, place)


def dot16(a: XtensaFunction, x: int, y: int, start: int, groups: int, zero: int, end: str) -> None:
    """ACC = sum of int16 products of x and y, four a group: an instruction each, loads included.

    Both pointers stand a word before their next load, and x's next word is in m0 already; it is so
    again afterwards, for the row of x that follows. So one word past x's last row is read.
    """
    a.mov(y, start)
    a.ldinc(2, y)
    a.wsr(zero, ACCLO)
    a.loopnez(groups, end)
    a.mula_dd_ldinc(LL, 1, x, 0, 2)
    a.mula_dd_ldinc(HH, 3, y, 0, 2)
    a.mula_dd_ldinc(LL, 0, x, 1, 3)
    a.mula_dd_ldinc(HH, 2, y, 1, 3)
    a.label(end)


def scale(a: XtensaFunction, acc: int, mult: int, t: int) -> None:
    """acc = acc*mult >> 15, from all 64 bits of the product."""
    a.mulsh(t, acc, mult)
    a.mull(acc, acc, mult)
    a.ssai(15)
    a.src(acc, t, acc)


def round_shift(a: XtensaFunction, acc: int, shift: int, low: int) -> None:
    """acc = (acc + (1 << shift)) >> (shift + 1), clamped to +-127; the register `low` holds -127.

    With `scale` before it, this is requant(acc; mult, shift + 16) of the README.
    """
    a.ssr(shift)
    a.sra(acc, acc)
    a.addi(acc, acc, 1)
    a.srai(acc, acc, 1)
    a.clamps(acc, acc, 7)
    a.max(acc, acc, low)
