"""Sums of products of three rows with others on an LX7 without MAC16: three products in two
multiplications, as triples_rv32.py has the arithmetic.

Values x0, x1, x2 of three rows are two words, A = x0 + (x1 << 21) and B = x2 + (x1 << 10). As there
is no load that extends a sign, the values w of the others are stored as w + 128, and sums of A and
B begin at -128 times the sums of A and of B, which stand before the words: modulo 2**32 that is all
it takes. Four rows of others are interleaved, so that one pointer serves them: a product takes two
loads and four times five instructions for twelve products, 1.83 instructions.
"""

from collections.abc import Callable

from ..mpy import S2Function

# What `tile` uses. Sums a in SUMS_A and b in SUMS_B, one for each of the other rows
SUMS_A, SUMS_B = (2, 3, 4, 5), (6, 7, 8, 9)
A, B, T, U, P, W = range(10, 16)
UNROLL = 8
WORDS = 8  # bytes of both words of a value, and of what stands before those of a block
# Words of the frame beside an argument `row`, where the packed words are: where the block at hand
# ends, its unrolled part before; the same of the first block; where all words end; whether they are
# several blocks; whether the block at hand is a later one; where it has ended
SPARE = ("unrolled", "end", "first unrolled", "first end", "last", "several", "later", "at")


def size(a: S2Function, to: int, n: int, most: int, t: int) -> None:
    """to = the bytes of the packed words of n values, in blocks of `most`."""
    a.movi(t, most)
    a.addi(to, n, most - 1)
    a.quou(to, to, t)
    a.add(to, to, n)
    a.slli(to, to, 3)


def prepare(a: S2Function, n: int, most: int) -> None:
    """Once a call: n, a2, values of a row; most: of a block, a multiple of UNROLL."""
    end, unrolled, row, t = range(3, 7)
    a.arguments(row=row)
    size(a, end, n, most, t)
    a.add(end, end, row)
    a.keep(end, "last")
    a.movi(t, 0)
    a.keep(t, "later")
    a.movi(t, most)
    a.sub(unrolled, t, n)
    a.srai(unrolled, unrolled, 31)  # not 0 where there are more
    a.keep(unrolled, "several")
    a.min(t, t, n)
    a.slli(end, t, 3)
    a.srli(t, t, 3)
    a.slli(t, t, 6)
    a.addi(row, row, WORDS)
    a.add(end, end, row)
    a.add(t, t, row)
    for name in ("end", "first end"):
        a.keep(end, name)
    for name in ("unrolled", "first unrolled"):
        a.keep(t, name)


def pack(a: S2Function, n: int, most: int) -> None:
    """Three rows of n values each, a2 to a4, which end behind them; n: a13, ends at 0."""
    rows, to, sum_a, sum_b = (2, 3, 4), 5, 6, 7
    x0, x1, x2, t, head, left, count, turns = range(8, 16)
    assert n == left
    a.arguments(row=to)
    a.label("pack block")
    a.mov(head, to)
    a.addi(to, to, WORDS)
    a.movi(sum_a, 0)
    a.movi(sum_b, 0)
    a.movi(count, most)
    a.min(count, count, left)
    a.sub(left, left, count)

    def values(places: int) -> None:
        for k in range(places):
            a.l8ui(x1, rows[1], k)
            a.l8ui(x0, rows[0], k)
            a.l8ui(x2, rows[2], k)
            for x in (x1, x0, x2):
                a.sext(x, x, 7)
            a.slli(t, x1, 21)
            a.slli(x1, x1, 10)
            a.add(x0, x0, t)
            a.add(x1, x1, x2)
            a.add(sum_a, sum_a, x0)
            a.add(sum_b, sum_b, x1)
            a.s32i(x0, to, WORDS * k)
            a.s32i(x1, to, WORDS * k + 4)
        for row in rows:
            a.addi(row, row, places)
        a.addi(to, to, places * WORDS)

    for places, name in ((8, "eight"), (1, "one")):
        if places == 8:
            a.srli(turns, count, 3)
        else:
            a.extui(turns, count, 0, 3)
        a.beqz(turns, f"pack {name} done")
        a.label(f"pack {name}")
        values(places)
        a.addi(turns, turns, -1)
        a.bnez(turns, f"pack {name}")
        a.label(f"pack {name} done")
    for total, place in ((sum_a, 0), (sum_b, 4)):
        a.slli(total, total, 7)
        a.neg(total, total)
        if most == 64:
            a.addi(total, total, -1)
        a.s32i(total, head, place)
    a.bnez(left, "pack block")


def tile(
    a: S2Function,
    columns: int,
    most: int,
    targets: Callable[[], None],
    load: Callable[[int, int, int], None],
    keep: Callable[[int, int, int], None],
) -> None:
    """Of the packed rows with four rows interleaved at W, or one, where it stops behind them.

    Args:
        columns: 4 or 1.
        most: as for `prepare`.
        targets: may set A, B and P before sums are kept, which load and keep may use; they are
            still set afterwards.
        load, keep: a register, one of the three rows, one of the columns: the place of a sum.
    """
    name = f"{columns}: "
    a.arguments(row=P)
    a.label(name + "block")
    a.l32i(A, P, 0)
    a.l32i(B, P, 4)
    a.addi(P, P, WORDS)
    for i in range(columns):
        a.mov(SUMS_A[i], A)
        a.mov(SUMS_B[i], B)
    a.arguments(unrolled=T)
    a.sub(T, P, T)
    a.beqz(T, name + "rest")
    a.label(name + "eight")
    _values(a, columns, UNROLL)
    a.arguments(unrolled=T)
    a.sub(T, P, T)
    a.bnez(T, name + "eight")
    a.label(name + "rest")
    a.arguments(end=T)
    a.branch("eq", P, T, name + "block done")
    a.label(name + "one")
    _values(a, columns, 1)
    a.arguments(end=T)
    a.branch("ne", P, T, name + "one")
    a.label(name + "block done")
    a.arguments(several=T)
    a.bnez(T, name + "of several")
    targets()
    for i in range(columns):
        for register, row in _sums(a, i, most):
            keep(register, row, i)
    a.label(name + "done")

    def several() -> None:
        a.label(name + "of several")
        a.keep(P, "at")
        targets()
        a.arguments(later=T)
        a.bnez(T, name + "later")
        for i in range(columns):
            for row in range(3):
                keep(T, row, i)  # 0
        a.label(name + "later")
        for i in range(columns):
            sums = _sums(a, i, most)
            for register, row in sums:
                load(SUMS_A[i], row, i)
                a.add(register, register, SUMS_A[i])
            for register, row in sums:  # behind all loads: one row may stand for another
                keep(register, row, i)
        a.arguments(at=P, last=T)
        a.branch("eq", P, T, name + "last")
        a.keep(P, "later")
        a.movi(U, (most + 1) * WORDS)
        a.add(U, U, P)
        a.min(U, U, T)
        a.keep(U, "end")
        a.addi(T, P, WORDS)
        a.sub(U, U, T)
        a.srli(U, U, 6)
        a.slli(U, U, 6)
        a.add(U, U, T)
        a.keep(U, "unrolled")
        a.j(name + "block")
        a.label(name + "last")
        a.movi(T, 0)
        a.keep(T, "later")
        a.argument(T, "first end")
        a.keep(T, "end")
        a.argument(T, "first unrolled")
        a.keep(T, "unrolled")
        targets()
        a.j(name + "done")

    a.seldom(several)


def _values(a: S2Function, columns: int, n: int) -> None:
    """The products of n values; P and W move on."""
    for k in range(n):
        a.l8ui(U, W, columns * k)  # what is waited for longest
        a.l32i(A, P, WORDS * k)
        a.l32i(B, P, WORDS * k + 4)
        for i in range(columns):
            if i:
                a.l8ui(U, W, columns * k + i)
            a.mull(T, A, U)
            a.mull(U, B, U)
            a.add(SUMS_A[i], SUMS_A[i], T)
            a.add(SUMS_B[i], SUMS_B[i], U)
    a.addi(W, W, columns * n)
    a.addi(P, P, WORDS * n)


def _sums(a: S2Function, i: int, most: int) -> tuple[tuple[int, int], ...]:
    """The three sums in those of column i -> the registers they are in, and their rows."""
    sum_a, sum_b = SUMS_A[i], SUMS_B[i]
    a.sext(T, sum_a, 20)
    a.sub(sum_a, sum_a, T)
    a.srai(sum_a, sum_a, 11)
    a.sub(U, sum_b, sum_a)
    a.sext(U, U, 20)
    a.sub(sum_b, sum_b, U)
    a.srai(sum_b, sum_b, 10)
    if most == 64:
        a.addi(T, T, 1)
        a.addi(U, U, 1)
    return (T, 0), (sum_b, 1), (U, 2)
