"""Softmax attention on LX6 and LX7: attn8/forms/viper/attention.py says what each kernel computes.

Keys, queries, values and softmax numerators are multiplied as int16, each row filled up with zeros
to a multiple of four: two words in m registers give two products, and every instruction of the
inner loop both multiplies and loads. Numerators reach 32768, beyond int16: both they and values
are packed with their signs changed.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, M0
from .common_xtensa import (
    group16,
    half_of,
    product16,
    reciprocal,
    round_bit,
    round_shift,
    row_bytes,
    widen_row,
)

SPARE = {
    "scores": ("whole", "rest", "groups", "before"),
    "softmax": ("visible", "half", "down"),
    "attend": ("visible", "weights", "query", "largest", "half", "down", "power", "groups"),
}


def pack_keys(a: XtensaFunction) -> None:
    """packed = k as int16 [keys, head_dim rounded up to 4]; sums are not needed."""
    k, packed, keys, groups, rest, t, zero = range(2, 9)
    a.arguments(k=k, packed=packed, keys=keys, head_dim=rest)
    a.movi(zero, 0)
    a.srli(groups, rest, 2)
    a.extui(rest, rest, 0, 2)
    a.label("key")
    widen_row(a, k, packed, groups, rest, t, zero)
    a.addi(keys, keys, -1)
    a.bnez(keys, "key")


def scores(a: XtensaFunction) -> None:
    k, q, y, out, groups, rest, keys, visible, left, start, zero, t, n, row = range(2, 16)
    a.arguments(rows=left, out=out)
    first_row(a, q, rest, keys, visible, t, y)
    a.movi(zero, 0)
    a.srli(groups, rest, 2)
    a.keep(groups, "whole")
    a.addi(groups, rest, 3)
    a.srli(groups, groups, 2)
    a.keep(groups, "groups")  # of four products
    a.extui(rest, rest, 0, 2)
    a.keep(rest, "rest")
    a.arguments(k=k)
    a.addi(k, k, -4)
    a.keep(k, "before")
    a.label("row")
    a.arguments(row=row, whole=groups, rest=rest)
    a.addi(start, row, 4)
    widen_row(a, q, row, groups, rest, t, zero)
    a.arguments(before=k, row=y, groups=groups)
    wrap(a, y, row, t, rest)
    a.ldinc(0, k)
    a.mov(n, visible)

    def keep(place: int) -> None:
        a.s32i(t, out, place)

    row_scores(a, (k, y, start, groups, out, n, t, zero), keep)
    mask_rest(a, out, keys, visible, t, y)
    a.addi(left, left, -1)
    a.bnez(left, "row")


# Groups of four dimensions that have a loop of their own, the most common first
UNROLLED = (4, 2, 8)


def row_scores(
    a: XtensaFunction, registers: tuple[int, ...], keep: Callable[[int], None]
) -> None:
    """The scores of a row with n keys: `keep` puts t at `out` and a place."""
    k, y, start, groups, out, n, t, zero = registers

    def score(g: int | None, place: int) -> None:
        a.wsr(zero, ACCLO)
        a.mov(y, start)
        if g is None:
            product16(a, k, y, groups, "any dot")
        else:
            for _ in range(g):
                group16(a, k, y)
        a.rsr(t, ACCLO)
        keep(place)

    for g in UNROLLED:
        a.movi(t, g)
        a.branch("ne", groups, t, f"not {g}")
        a.j(f"{g} groups")
        a.label(f"not {g}")
    a.label("any score")
    score(None, 0)
    a.addi(out, out, 4)
    a.addi(n, n, -1)
    a.bnez(n, "any score")
    a.j("scored")
    for g in reversed(UNROLLED):
        a.label(f"{g} groups")
        if g < 8:
            a.srli(t, n, 1)
            a.extui(n, n, 0, 1)
            a.loopnez(t, f"{g} pair")
            score(g, 0)
            score(g, 4)
            a.addi(out, out, 8)
            a.label(f"{g} pair")
        a.loopnez(n, f"{g} score")
        score(g, 0)
        a.addi(out, out, 4)
        a.label(f"{g} score")
        if g != UNROLLED[0]:
            a.j("scored")
    a.label("scored")


def first_row(
    a: XtensaFunction, q: int, head_dim: int, keys: int, visible: int, t: int, y: int
) -> None:
    """Loads arguments of `scores`: q at the call's first row, and how many keys that row sees."""
    a.arguments(q=q, first=t, head_dim=head_dim, keys=keys)
    a.mull(y, t, head_dim)
    a.add(q, q, y)
    a.arguments(causal=y)
    a.mov(visible, keys)
    a.beqz(y, "all visible")
    a.addi(visible, t, 1)
    a.label("all visible")


def mask_rest(a: XtensaFunction, out: int, keys: int, visible: int, t: int, y: int) -> None:
    """Masks the scores of keys that the row does not see; `visible` becomes the next row's."""
    a.arguments(causal=t)
    a.beqz(t, "all seen")
    a.sub(t, keys, visible)
    a.movi(y, -1)
    a.slli(y, y, 30)  # a masked score
    a.loopnez(t, "masked")
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.label("masked")
    a.addi(visible, visible, 1)
    a.label("all seen")


def mask_keys(a: XtensaFunction) -> None:
    score, mask, rows, keys, masked, t, m = range(2, 9)
    a.arguments(scores=score, rows=rows, keys=keys)
    a.movi(masked, -1)
    a.slli(masked, masked, 30)
    a.label("row")
    a.arguments(mask=mask)
    a.loopnez(keys, "key")
    a.l8ui(m, mask)
    a.l32i(t, score)
    a.addi(mask, mask, 1)
    a.movnez(t, masked, m)
    a.s32i(t, score)
    a.addi(score, score, 4)
    a.label("key")
    a.addi(rows, rows, -1)
    a.bnez(rows, "row")




INDEX = 19  # the bit at which 8 bits of a numerator's logarithm begin that are looked up


# Register map of numerators
SCORE, TO, TABLE, VISIBLE, MULT, HALF, THRESHOLD, TOTAL, DOWN, LARGEST = range(2, 12)


def softmax(a: XtensaFunction) -> None:
    at, x, y, t = range(12, 16)
    scale_logarithms(a)
    a.arguments(first=x, causal=y, keys=VISIBLE)
    a.beqz(y, "all visible")
    a.addi(VISIBLE, x, 1)
    a.label("all visible")
    a.keep(VISIBLE, "visible")
    a.arguments(scores=SCORE, out=TO, table=TABLE, mult=MULT, down=DOWN)
    a.label("row")
    a.arguments(visible=VISIBLE)
    a.mov(at, SCORE)
    a.l32i(LARGEST, at)
    a.srli(t, VISIBLE, 2)
    a.loopnez(t, "four scores")
    for i in (0, 2):
        a.l32i(x, at, 4 * i)
        a.l32i(y, at, 4 * i + 4)
        if i == 2:
            a.addi(at, at, 16)
        a.max(LARGEST, LARGEST, x)
        a.max(LARGEST, LARGEST, y)
    a.label("four scores")
    a.extui(t, VISIBLE, 0, 2)
    a.loopnez(t, "largest")
    a.l32i(x, at)
    a.addi(at, at, 4)
    a.max(LARGEST, LARGEST, x)
    a.label("largest")
    row_numerators(a, negative=False)
    sums, hidden, visible, zero = range(11, 15)
    a.arguments(sums=sums, causal=zero)
    a.s32i(TOTAL, sums)
    a.addi(sums, sums, 4)
    a.keep(sums, "sums")
    a.beqz(zero, "all seen")
    a.arguments(keys=hidden, visible=visible)
    a.movi(zero, 0)
    a.sub(hidden, hidden, visible)
    a.addx4(SCORE, hidden, SCORE)
    a.addi(visible, visible, 1)
    a.keep(visible, "visible")
    a.loopnez(hidden, "not seen")
    a.s16i(zero, TO)
    a.addi(TO, TO, 2)
    a.label("not seen")
    a.label("all seen")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.bnez(t, "row")


def scale_logarithms(a: XtensaFunction) -> None:
    """mult, and "half" of what is then shifted out, so that bit INDEX is the first to be looked up,
    or is after a shift by "down".
    """
    t, u, up, zero = range(2, 6)
    a.arguments(shift=t)
    half_of(a, u, t)
    a.movi(up, INDEX)
    a.movi(zero, 0)
    a.sub(t, up, t)  # so many bits are missing, or there are more
    a.max(up, t, zero)
    a.ssl(up)
    a.sll(u, u)
    a.keep(u, "half")
    a.arguments(mult=u)
    a.sll(u, u)
    a.keep(u, "mult")
    a.sub(up, up, t)
    a.keep(up, "down")


def pack_values(a: XtensaFunction) -> None:
    pack_columns(a, 2, lambda packed: None)


def pack_columns(a: XtensaFunction, bits: int, align: Callable[[int], None]) -> None:
    """packed = -v as int16 [head_dim, keys rounded up to 2**bits], transposed, from the address on
    that `align` makes of a register.
    """
    v, packed, keys, columns, stride, source, t, fill, zero = range(2, 11)
    a.arguments(v=v, packed=packed, keys=keys, head_dim=columns)
    align(packed)
    a.movi(zero, 0)
    a.mov(stride, columns)
    a.neg(fill, keys)
    a.extui(fill, fill, 0, bits)  # zeros to add
    a.label("column")
    a.mov(source, v)
    a.loopnez(keys, "value")
    a.l8ui(t, source)
    a.add(source, source, stride)
    a.sext(t, t, 7)
    a.neg(t, t)
    a.s16i(t, packed)
    a.addi(packed, packed, 2)
    a.label("value")
    a.loopnez(fill, "fill")
    a.s16i(zero, packed)
    a.addi(packed, packed, 2)
    a.label("fill")
    a.addi(v, v, 1)
    a.addi(columns, columns, -1)
    a.bnez(columns, "column")


# Register map of weighted_sum
V, ROW, OUT, GROUPS, WEIGHTS, P, M, SHIFT, END, ZERO, ACC, T, Y, LOW = range(2, 16)


def weighted_sum(a: XtensaFunction) -> None:
    def begin() -> None:
        a.mull(ROW, GROUPS, END)
        a.slli(ROW, ROW, 3)
        a.add(ROW, ROW, V)
        negated_row(a)
        a.mov(Y, ROW)
        wrap(a, Y, T, ACC, LOW)
        a.addi(ROW, ROW, 4)
        a.addi(V, V, -4)
        a.ldinc(0, V)

    def product(name: str) -> None:
        a.wsr(ZERO, ACCLO)
        a.mov(Y, ROW)
        product16(a, V, Y, GROUPS, name)

    weighted_sum_with(a, begin, product, lambda: a.rsr(ACC, ACCLO))


def negated_row(a: XtensaFunction) -> None:
    """-1 * a row of weights, in groups of four, to ROW; T then points behind."""
    a.mov(T, ROW)
    a.loopnez(GROUPS, "packed")  # up to three weights of the next row meet zeros of v
    for i in (0, 2):
        a.l16ui(ACC, WEIGHTS, 2 * i)
        a.l16ui(Y, WEIGHTS, 2 * i + 2)
        a.neg(ACC, ACC)
        a.neg(Y, Y)
        a.s16i(ACC, T, 2 * i)
        a.s16i(Y, T, 2 * i + 2)
    a.addi(WEIGHTS, WEIGHTS, 8)
    a.addi(T, T, 8)
    a.label("packed")


def weighted_sum_with(
    a: XtensaFunction,
    begin: Callable[[], None],
    product: Callable[[str], None],
    read: Callable[[], None],
) -> None:
    """Rows of weights, each packed behind the values.

    Args:
        begin: packs a row; V and ROW become what `product` reads, END is head_dim.
        product: a row times a column, with a loop of this name.
        read: ACC = the sum.
    """
    a.arguments(out=OUT, first=T, head_dim=END, keys=GROUPS, shift=SHIFT)
    a.mull(T, T, END)
    a.add(OUT, OUT, T)
    a.addi(GROUPS, GROUPS, 3)
    a.srli(GROUPS, GROUPS, 2)
    a.addi(SHIFT, SHIFT, -16)
    a.movi(ZERO, 0)
    a.label("row")
    a.arguments(v=V, weights=WEIGHTS, head_dim=END)
    begin()
    a.arguments(sums=Y, num=M, weights=WEIGHTS, keys=T)
    a.addx2(WEIGHTS, T, WEIGHTS)
    a.keep(WEIGHTS, "weights")
    a.l32i(T, Y)
    a.addi(Y, Y, 4)
    a.keep(Y, "sums")
    reciprocal(a, P, M, T, ACC, ZERO)
    a.movi(LOW, -127)
    a.add(END, END, OUT)

    def columns(name: str, close: bool) -> None:
        a.label(name)
        product(name + " dot")
        if not close:
            a.ssr(P)
        read()
        a.sra(ACC, ACC)
        if close:
            a.mulsh(ACC, ACC, M)
            round_bit(a, ACC, LOW)
        else:
            a.slli(ACC, ACC, 2)
            a.mulsh(ACC, ACC, M)  # 15 bits less than the product
            round_shift(a, ACC, SHIFT, LOW)
        a.s8i(ACC, OUT)
        a.addi(OUT, OUT, 1)
        a.branch("ne", OUT, END, name)

    # Where a reciprocal can be shifted left instead, as in `attend`
    a.movi(T, 33 - 16)
    a.movi(ACC, 15)
    a.sub(T, T, SHIFT)
    a.branch("ltu", ACC, T, "any shift")
    a.ssl(T)
    a.sll(M, M)
    a.ssr(P)
    columns("column", close=True)
    a.j("next row")
    a.label("any shift")
    a.slli(M, M, 15)
    columns("column of any shift", close=False)
    a.label("next row")
    a.arguments(rows=T)
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row")


def attend(a: XtensaFunction) -> None:
    attend_with(a, behind_query, 2, attend_scores, attend_values)


def behind_query(a: XtensaFunction, room: int, n: int) -> None:
    """The room behind a query of n dimensions, which takes two words more."""
    row_bytes(a, n, n)
    a.add(room, room, n)
    a.addi(room, room, 8)


def attend_with(
    a: XtensaFunction,
    query: Callable[[XtensaFunction, int, int], None],
    bits: int,
    scores_of_row: Callable[[XtensaFunction], None],
    values_of_row: Callable[[XtensaFunction], None],
) -> None:
    """All of a head, row by row: scores with their maximum, numerators, the sums of values. A row
    that sees fewer keys takes fewer products.

    Args:
        query: leads from the start of the room behind a query, to where weights are.
        bits: weights are filled up to a multiple of 2**bits, by which "groups" counts them.
        scores_of_row: the scores of what a row sees and "largest", of "q", which moves on.
        values_of_row: its results, to "out", which moves on; a9 is -1 * the sum of its weights.
    """
    t, u, keys, room = range(2, 6)
    a.arguments(head_dim=t, keys=keys, mask=u, at=room)
    a.add(u, u, room)
    a.keep(u, "mask")
    a.arguments(room=room)
    a.keep(room, "query")  # at a multiple of eight
    query(a, room, t)
    a.keep(room, "weights")
    row_bytes(a, t, keys, bits)
    a.add(room, room, t)
    a.addi(room, room, 8)
    a.keep(room, "room")  # of the scores
    a.arguments(causal=u)
    a.beqz(u, "all visible")
    a.movi(keys, 1)
    a.label("all visible")
    a.keep(keys, "visible")
    scale_logarithms(a)
    a.arguments(out_shift=t)
    a.movi(u, 33)
    a.sub(t, u, t)
    a.movi(u, 1)
    a.ssl(t)
    a.sll(u, u)
    a.keep(u, "power")
    a.label("row")
    scores_of_row(a)
    attend_numerators(a, bits)
    values_of_row(a)
    a.arguments(masks=t, mask=u, keys=keys)
    a.addi(t, t, -2)
    a.bnez(t, "same mask")
    a.add(u, u, keys)
    a.keep(u, "mask")
    a.label("same mask")
    a.arguments(visible=t, causal=u, rows=keys)
    a.add(t, t, u)
    a.keep(t, "visible")
    a.addi(keys, keys, -1)
    a.keep(keys, "rows")
    a.beqz(keys, "end")
    a.j("row")
    a.label("end")


def attend_scores(a: XtensaFunction) -> None:
    """The scores of what the row sees, masked where there is padding, and "largest"."""
    q, row, groups, rest, t, zero, k, y, start, out, visible, largest = range(2, 14)
    a.arguments(q=q, query=row, head_dim=rest)
    a.movi(zero, 0)
    a.srli(groups, rest, 2)
    a.extui(rest, rest, 0, 2)
    widen_row(a, q, row, groups, rest, t, zero)
    a.keep(q, "q")
    a.arguments(query=y, head_dim=groups, k=k, room=out, visible=visible)
    a.addi(groups, groups, 3)
    a.srli(groups, groups, 2)
    a.addi(k, k, -4)
    a.ldinc(0, k)
    a.addi(start, y, 4)
    wrap(a, y, row, t, rest)
    a.movi(largest, -1)
    a.slli(largest, largest, 31 - 1)  # a masked score, below all others

    def keep(place: int) -> None:
        a.s32i(t, out, place)
        a.max(largest, largest, t)

    row_scores(a, (k, y, start, groups, out, visible, t, zero), keep)
    mask_row(a, largest)


def mask_row(a: XtensaFunction, largest: int) -> None:
    """Masks scores where the call has a mask, and keeps "largest", other than a2 to a7."""
    row, t, zero, y, out, visible = range(2, 8)
    a.arguments(masks=t, mask=row, room=out, visible=visible)
    a.beqz(t, "no mask")
    a.movi(largest, -1)
    a.slli(largest, largest, 30)
    a.mov(zero, largest)
    a.loopnez(visible, "mask")
    a.l8ui(y, row)
    a.l32i(t, out)
    a.addi(row, row, 1)
    a.movnez(t, zero, y)
    a.s32i(t, out)
    a.addi(out, out, 4)
    a.max(largest, largest, t)
    a.label("mask")
    a.label("no mask")
    a.keep(largest, "largest")


def wrap(a: XtensaFunction, y: int, end: int, t: int, u: int) -> None:
    """The first two words of the row at y to m2 and m3, and behind its end; y at the second."""
    a.addi(y, y, -4)
    a.ldinc(2, y)
    a.ldinc(3, y)
    a.rsr(t, M0 + 2)
    a.rsr(u, M0 + 3)
    a.s32i(t, end, 0)
    a.s32i(u, end, 4)


def attend_numerators(a: XtensaFunction, bits: int) -> None:
    """-1 * the numerators of what the row sees, filled up with zeros to a multiple of 2**bits."""
    v, t = 11, 15
    a.arguments(room=SCORE, weights=TO, table=TABLE, visible=VISIBLE, mult=MULT, down=DOWN)
    a.arguments(largest=LARGEST)
    row_numerators(a, negative=True)
    a.arguments(visible=t)
    a.addi(v, t, (1 << bits) - 1)
    a.srli(v, v, bits)
    a.keep(v, "groups")
    a.neg(t, t)
    a.extui(t, t, 0, bits)
    a.movi(v, 0)
    a.loopnez(t, "fill numerators")
    a.s16i(v, TO)
    a.addi(TO, TO, 2)
    a.label("fill numerators")


def row_numerators(a: XtensaFunction, negative: bool) -> None:
    """The numerators of what a row sees, and their sum in TOTAL, or both with their signs changed;
    SCORE and TO then point behind. HALF, THRESHOLD and TOTAL are found here.
    """
    w, x = 12, 13
    a.arguments(half=HALF, limit=THRESHOLD)
    a.movi(w, -1)
    a.slli(w, w, 30)  # a masked score
    a.mull(x, LARGEST, MULT)
    a.add(HALF, HALF, x)
    a.sub(THRESHOLD, LARGEST, THRESHOLD)
    a.branch("ne", LARGEST, w, "some are shown")
    a.movi(x, -1)
    a.srli(THRESHOLD, x, 1)  # no score is so large
    a.label("some are shown")
    a.movi(TOTAL, 0)
    a.bnez(DOWN, "finer")
    numerators(a, "coarse", negative, finer=False)
    a.label("finer")
    numerators(a, "fine", negative, finer=True)
    a.label("numerators are there")


def numerators(a: XtensaFunction, name: str, negative: bool, finer: bool) -> None:
    """HALF - MULT * a score is its logarithm, from bit INDEX on once it is shifted by DOWN where
    `finer`.
    """
    pairs = ((11, 13), (12, 14))
    t = 15

    def body(count: int) -> None:
        some = pairs[:count]
        for i, (v, _) in enumerate(some):
            a.l32i(v, SCORE, 4 * i)
        a.addi(SCORE, SCORE, 4 * count)
        for v, x in some:
            a.mull(x, v, MULT)
        for _, x in some:
            a.sub(x, HALF, x)
        if finer:
            a.ssr(DOWN)
            for _, x in some:
                a.srl(x, x)
        for i, (v, _) in enumerate(some):
            a.branch("lt", v, THRESHOLD, f"{name} far {count} {i}")
            a.label(f"{name} not far {count} {i}")
        for v, x in some:
            a.extui(v, x, INDEX, 8)
        for v, _ in some:
            a.addx2(v, v, TABLE)
        for v, _ in some:
            a.l16ui(v, v)
        for _, x in some:
            a.extui(x, x, INDEX + 8, 5)
        for v, x in some:
            a.ssr(x)
            a.srl(v, v)
        for v, _ in some:
            if negative:
                a.neg(v, v)
            else:
                a.addi(v, v, 1)
        for v, _ in some:
            a.srai(v, v, 1)
        for i, (v, _) in enumerate(some):
            a.s16i(v, TO, 2 * i)
            a.add(TOTAL, TOTAL, v)
        a.addi(TO, TO, 2 * count)

    a.extui(t, VISIBLE, 0, 1)
    a.srli(VISIBLE, VISIBLE, 1)
    a.loopnez(VISIBLE, name + " pair")
    body(2)
    a.label(name + " pair")
    a.loopnez(t, name + " last")
    body(1)
    a.label(name + " last")
    a.j("numerators are there")
    for count in (2, 1):
        for i, (_, x) in enumerate(pairs[:count]):
            a.label(f"{name} far {count} {i}")  # -1 gives 0
            a.movi(x, -1)
            a.j(f"{name} not far {count} {i}")


def row_reciprocal(a: XtensaFunction) -> tuple[int, int]:
    """What a row's sums are multiplied by once they are shifted, and a register of 0."""
    p, m, total, t, zero = 3, 4, 9, 5, 6
    a.arguments(num=m)
    a.movi(zero, 0)
    a.neg(total, total)
    reciprocal(a, p, m, total, t, zero)  # leaves p as the shift
    a.arguments(power=t)
    a.mull(m, m, t)
    return m, zero


def attend_values(a: XtensaFunction) -> None:
    m, zero = row_reciprocal(a)
    row, v, y, start, groups, skip, out, end, low, acc, t = 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14
    a.arguments(weights=y, groups=groups, keys=skip, v=v, out=out, value_dim=end)
    a.addi(start, y, 4)
    a.slli(row, groups, 3)
    a.add(row, row, y)
    wrap(a, y, row, acc, t)
    row_bytes(a, skip, skip)
    a.slli(t, groups, 3)
    a.sub(skip, skip, t)
    a.add(end, end, out)
    a.movi(low, -127)
    a.addi(v, v, -4)
    a.ldinc(0, v)

    def columns(name: str, skips: bool) -> None:
        a.label(name)
        a.wsr(zero, ACCLO)
        a.mov(y, start)
        product16(a, v, y, groups, name + " dot")
        if skips:
            a.add(v, v, skip)
            a.addi(v, v, -4)
            a.ldinc(0, v)
        a.rsr(acc, ACCLO)
        a.sra(acc, acc)
        a.mulsh(acc, acc, m)
        round_bit(a, acc, low)
        a.s8i(acc, out)
        a.addi(out, out, 1)
        a.branch("ne", out, end, name)

    a.bnez(skip, "column of some")
    columns("column", False)
    a.j("values are summed")
    columns("column of some", True)
    a.label("values are summed")
    a.keep(out, "out")
