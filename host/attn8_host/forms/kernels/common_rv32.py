"""Pieces that several RV32IM kernels use."""

from collections.abc import Callable, Sequence

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, A6, A7, S2, S3, S4, S5, S6, S7, S8, S9, T0, T1, ZERO

# What `dot` uses: products of one row X with eight rows ROWS, into eight sums.
SUMS = (S2, S3, S4, S5, S6, S7, S8, S9)
ROWS = (A0, A1, A2, A3, A4, A5, A6, A7)
X, END = T0, T1  # END: where X stops
TILE = len(SUMS)
UNROLL = 8


def dot(
    a: Rv32Function,
    name: str,
    tile: int,
    load_x: Callable[[int, int, int], None],
    load: Callable[[int, int, int], None],
    sizes: tuple[int, int],
    unrolled: int,
    t: tuple[int, int, int],
    unroll: int = UNROLL,
    load_even: Callable[[int, int, int], None] | None = None,
) -> None:
    """SUMS += X times each of the first `tile` ROWS, up to END; the pointers end behind the rows.

    A value of X is loaded once for all rows: (1 + 3*tile)/tile instructions a product.

    Args:
        name: a prefix for labels.
        load_x, load: the instruction that loads a value of X, and of a row.
        sizes: the bytes of such values.
        unrolled: a register, where X stops in the unrolled loop.
        t: three registers.
        unroll: values in that loop.
        load_even: that of an even row, where each of ROWS is a pair, whose values lie by turns.
    """
    b, v, u = t
    share = 2 if load_even else 1  # rows of a pointer

    def value(to: int, j: int, k: int) -> None:
        of = load_even if load_even and j % 2 == 0 else load
        of(to, (k * share + j % share) * sizes[1], ROWS[j // share])

    def products(k: int) -> None:
        load_x(b, k * sizes[0], X)
        value(v, 0, k)
        for j in range(tile):
            y, following = (v, u) if j % 2 == 0 else (u, v)
            if j + 1 < tile:  # before it is waited for
                value(following, j + 1, k)
            a.mul(y, y, b)
            a.add(SUMS[j], SUMS[j], y)

    def advance(k: int) -> None:
        a.addi(X, X, k * sizes[0])
        for row in ROWS[: tile // share]:
            a.addi(row, row, k * share * sizes[1])

    a.beq(X, unrolled, name + ", rest")
    a.label(name + ", block")
    for k in range(unroll):
        products(k)
    advance(unroll)
    a.bne(X, unrolled, name + ", block")
    a.label(name + ", rest")
    a.beq(X, END, name + ", done")
    a.label(name + ", one")
    products(0)
    advance(1)
    a.bne(X, END, name + ", one")
    a.label(name + ", done")


def requantize(
    a: Rv32Function, name: str, acc: int, mult: int, shift: int, high: int, low: int, t: int
) -> None:
    """acc = requant(acc; mult, shift + 16), clamped to +-127, which `high` and `low` hold.

    acc*mult >> 15 from all 64 bits of the product; then (that + (1 << shift)) >> (shift + 1).
    """
    a.mulh(t, acc, mult)
    a.mul(acc, acc, mult)
    a.slli(t, t, 17)
    a.srli(acc, acc, 15)
    a.or_(acc, acc, t)
    a.sra(acc, acc, shift)
    a.addi(acc, acc, 1)
    a.srai(acc, acc, 1)
    clamp(a, name, acc, high, low)


def settle(
    a: Rv32Function, name: str, acc: int, mult: int, shift: int, high: int, low: int
) -> None:
    """acc = requant(acc), |acc| < 2**30, clamped to high and low, in one multiplication.

    acc * (mult << 17) has in its high word what requant drops 15 bits of, acc * mult >> 15; shift
    is 16 less than requant's.
    """
    a.mulhsu(acc, acc, mult)
    a.sra(acc, acc, shift)
    a.addi(acc, acc, 1)
    a.srai(acc, acc, 1)
    clamp(a, name, acc, high, low)


def clamp(a: Rv32Function, name: str, acc: int, high: int, low: int) -> None:
    """acc between low and high; `name` is a prefix for labels. What is beyond is rare: no branch
    is taken for what lies within.
    """

    def beyond() -> None:
        for side, bound in (("high", high), ("low", low)):
            a.label(f"{name} {side}")
            a.mv(acc, bound)
            a.j(name + " clamped")

    a.blt(high, acc, name + " high")
    a.blt(acc, low, name + " low")
    a.label(name + " clamped")
    a.seldom(beyond)


def exp2(a: Rv32Function, y: int, x: int, table: int) -> None:
    """y = 2**-x in Q15 for x in 1/256 octaves: ((table[x & 255] >> (x >> 8)) + 1) >> 1."""
    a.andi(y, x, 255)
    a.slli(y, y, 1)
    a.add(y, y, table)
    a.lhu(y, 0, y)
    a.srai(x, x, 8)
    a.srl(y, y, x)
    a.addi(y, y, 1)
    a.srli(y, y, 1)


def reciprocal(a: Rv32Function, m: int, p: int, total: int, t: int, name: str = "") -> None:
    """p = the bits beyond 16 of a row's sum; m becomes m / (total >> p), both rounded; else 0.

    name: a prefix for labels.
    """
    a.li(p, 0)
    a.label(name + "too long")
    a.srl(t, total, p)
    a.srli(t, t, 16)
    a.beq(t, ZERO, name + "short enough")
    a.addi(p, p, 1)
    a.j(name + "too long")
    a.label(name + "short enough")
    a.li(t, 1)
    a.sll(t, t, p)
    a.srli(t, t, 1)
    a.add(total, total, t)
    a.srl(total, total, p)
    a.srli(t, total, 1)
    a.add(t, m, t)
    a.li(m, 0)
    a.beq(total, ZERO, name + "no key")
    a.divu(m, t, total)
    a.label(name + "no key")


def clear(a: Rv32Function, registers: Sequence[int]) -> None:
    for register in registers:
        a.mv(register, ZERO)


def elements(
    a: Rv32Function,
    name: str,
    n: int,
    t: int,
    unroll: int,
    steps: dict[int, int],
    body: Callable[[range, str], None],
) -> None:
    """`body` for each of n elements, two of them in turn where there are two.

    Args:
        name: a prefix for labels.
        n: a register, as it stays.
        t: a register for `elements` alone.
        unroll: elements in the unrolled loop, a power of two.
        steps: the bytes that an element takes, by pointer.
        body: gets the places of its elements, counted from where the pointers stand, and a prefix
            for labels.
    """

    def end(size: int, label: str) -> None:
        for pointer, step in steps.items():
            a.addi(pointer, pointer, size * step)
        a.addi(t, t, -1)
        a.bne(t, ZERO, label)

    a.srli(t, n, unroll.bit_length() - 1)
    a.beq(t, ZERO, name + " blocks done")
    a.label(name + " block")
    for i in range(0, unroll, 2):
        body(range(i, i + 2), f"{name} {i}")
    end(unroll, name + " block")
    a.label(name + " blocks done")
    a.andi(t, n, unroll - 1)
    a.beq(t, ZERO, name + " done")
    a.label(name + " one")
    body(range(1), name + " one")
    end(1, name + " one")
    a.label(name + " done")
