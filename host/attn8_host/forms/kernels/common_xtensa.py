"""Pieces that several Xtensa kernels use."""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import HH, LL


def row_bytes(a: XtensaFunction, to: int, n: int, bits: int = 2) -> None:
    """to = the bytes of a row of n int16 values, filled up to a multiple of 2**bits values."""
    a.addi(to, n, (1 << bits) - 1)
    a.srli(to, to, bits)
    a.slli(to, to, bits + 1)


def widen_row(
    a: XtensaFunction, source: int, target: int, groups: int, rest: int, t: int, zero: int
) -> None:
    """A row of int8 to int16, filled up with zeros; both pointers move to the next row."""
    a.loopnez(groups, "groups")
    widen(a, source, target, 4, t)
    a.addi(source, source, 4)
    a.addi(target, target, 8)
    a.label("groups")
    a.beqz(rest, "filled")
    a.s32i(zero, target, 0)
    a.s32i(zero, target, 4)
    a.loopnez(rest, "rest")
    widen(a, source, target, 1, t)
    a.addi(source, source, 1)
    a.addi(target, target, 2)
    a.label("rest")
    a.addi(target, target, 7)  # on to a multiple of 8 bytes
    a.srli(target, target, 3)
    a.slli(target, target, 3)
    a.label("filled")


def widen(a: XtensaFunction, source: int, target: int, n: int, t: int) -> None:
    """n values of int8 to int16; neither pointer moves."""
    for i in range(n):
        a.l8ui(t, source, i)
        a.sext(t, t, 7)
        a.s16i(t, target, 2 * i)


def product16(a: XtensaFunction, x: int, y: int, groups: int, end: str) -> None:
    """ACC += the sum of int16 products of x and y, four a group: an instruction each, which loads
    what is multiplied two of them later or more.

    x's next word is in m0 and y's next two in m2 and m3; x and y point at the last word that is
    loaded. It is so again afterwards, for what follows either row.
    """
    a.loopnez(groups, end)
    group16(a, x, y)
    a.label(end)


def group16(a: XtensaFunction, x: int, y: int) -> None:
    """One group of `product16`."""
    a.mula_dd_ldinc(LL, 1, x, 0, 2)
    a.mula_dd_ldinc(HH, 2, y, 0, 2)
    a.mula_dd_ldinc(LL, 0, x, 1, 3)
    a.mula_dd_ldinc(HH, 3, y, 1, 3)


def half_of(a: XtensaFunction, to: int, bits: int) -> None:
    """to = (1 << bits) >> 1, what rounds a shift right by so many bits."""
    a.movi(to, 1)
    a.ssl(bits)
    a.sll(to, to)
    a.srli(to, to, 1)


def reciprocal(
    a: XtensaFunction, p: int, m: int, total: int, t: int, zero: int, name: str = ""
) -> None:
    """p = the bits of a row's sum beyond 16; m becomes m / (total >> p), both rounded; else 0.

    name: a prefix for labels.
    """
    a.nsau(p, total)
    a.movi(t, 16)
    a.sub(p, t, p)
    a.max(p, p, zero)
    half_of(a, t, p)
    a.add(total, total, t)
    a.ssr(p)
    a.sra(total, total)
    a.srli(t, total, 1)
    a.add(t, m, t)
    a.mov(m, zero)
    a.beqz(total, name + "no key")
    a.quou(m, t, total)
    a.label(name + "no key")


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
    round_bit(a, acc, low)


def round_bit(a: XtensaFunction, v: int, low: int, bits: int = 7) -> None:
    """v = (v + 1) >> 1, clamped to +-(2**bits - 1), whose negative is in the register `low`."""
    a.addi(v, v, 1)
    a.srai(v, v, 1)
    a.clamps(v, v, bits)
    a.max(v, v, low)


def elements(
    a: XtensaFunction,
    name: str,
    n: int,
    t: int,
    unroll: int,
    steps: dict[int, int],
    body: Callable[[range], None],
) -> None:
    """`body` for each of n elements, two of them in turn where there are two.

    Args:
        name: a prefix for labels.
        n: a register, as it stays.
        t: a register that `body` may use.
        unroll: elements in the unrolled loop, a power of two.
        steps: the bytes that an element takes, by pointer.
        body: gets the places of its elements, counted from where the pointers stand.
    """
    bits = unroll.bit_length() - 1
    a.srli(t, n, bits)
    a.loopnez(t, name + " block")
    for i in range(0, unroll, 2):
        body(range(i, i + 2))
    for pointer, step in steps.items():
        a.addi(pointer, pointer, unroll * step)
    a.label(name + " block")
    a.extui(t, n, 0, bits)
    a.loopnez(t, name + " rest")
    body(range(1))
    for pointer, step in steps.items():
        a.addi(pointer, pointer, step)
    a.label(name + " rest")
