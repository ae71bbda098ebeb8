"""Softmax attention on LX6 and LX7: attn8/forms/viper/attention.py says what each kernel computes.

Keys, queries, values and softmax numerators are multiplied as int16, each row filled up with zeros
to a multiple of four: two words in m registers give two products, and every instruction of the
inner loop both multiplies and loads. Numerators reach 32768, beyond int16: both they and values
are packed with their signs changed.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, M0
from .common_xtensa import (
    dot16,
    group16,
    half_of,
    product16,
    reciprocal,
    round_bit,
    round_shift,
    row_bytes,
    scale,
    widen_row,
)

SPARE = {
    "attend": ("visible", "weights", "query", "largest", "half", "down", "power", "groups")
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
    k, q, row, out, groups, rest, keys, visible, left, y, zero, t, columns = range(2, 15)
    a.arguments(rows=left, out=out)
    first_row(a, q, rest, keys, visible, t, y)
    a.movi(zero, 0)
    a.srli(groups, rest, 2)
    a.extui(rest, rest, 0, 2)
    a.label("row")
    a.arguments(row=row)
    widen_row(a, q, row, groups, rest, t, zero)
    a.arguments(row=row, k=k, head_dim=columns)
    a.addi(row, row, -4)
    a.addi(k, k, -4)
    a.ldinc(0, k)
    a.addi(columns, columns, 3)
    a.srli(columns, columns, 2)  # groups of four products
    a.mov(t, visible)
    a.label("score")
    dot16(a, k, y, row, columns, zero, "dot")
    a.addi(t, t, -1)
    a.rsr(y, ACCLO)
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.bnez(t, "score")
    mask_rest(a, out, keys, visible, t, y)
    a.addi(left, left, -1)
    a.bnez(left, "row")


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
    a.sub(t, keys, visible)
    a.movi(y, -1)
    a.slli(y, y, 30)  # a masked score
    a.loopnez(t, "masked")
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.label("masked")
    a.arguments(causal=t)
    a.add(visible, visible, t)


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


def softmax(a: XtensaFunction) -> None:
    score, out, table, visible, mult, half, shift, limit = range(2, 10)
    largest, total, x, y, n, zero = range(10, 16)
    a.arguments(scores=score, out=out, table=table, keys=visible, first=x, causal=y)
    a.arguments(mult=mult, shift=shift, limit=limit)
    a.beqz(y, "all visible")
    a.addi(visible, x, 1)
    a.label("all visible")
    a.movi(zero, 0)
    half_of(a, half, shift)
    a.label("row")
    a.mov(n, score)
    a.l32i(largest, n)
    a.loopnez(visible, "largest")
    a.l32i(x, n)
    a.addi(n, n, 4)
    a.max(largest, largest, x)
    a.label("largest")
    a.movi(y, -1)
    a.slli(y, y, 30)  # a masked score
    a.mov(n, limit)
    a.branch("ne", largest, y, "some are shown")
    a.movi(n, -1)  # beyond the limit all of them
    a.label("some are shown")
    a.mov(total, zero)
    a.loopnez(visible, "numerator")
    a.l32i(x, score)
    a.addi(score, score, 4)
    a.sub(x, largest, x)
    a.mov(y, zero)
    a.branch("lt", n, x, "far")
    a.mull(x, x, mult)
    a.ssr(shift)
    a.add(x, x, half)
    a.sra(x, x)
    a.extui(y, x, 0, 8)
    a.addx2(y, y, table)
    a.l16ui(y, y)
    a.srai(x, x, 8)
    a.ssr(x)
    a.srl(y, y)
    a.addi(y, y, 1)
    a.srli(y, y, 1)
    a.label("far")
    a.s16i(y, out)
    a.addi(out, out, 2)
    a.add(total, total, y)
    a.label("numerator")
    a.arguments(sums=x, keys=n)
    a.s32i(total, x)
    a.addi(x, x, 4)
    a.keep(x, "sums")
    a.sub(n, n, visible)
    a.addx4(score, n, score)
    a.loopnez(n, "masked")
    a.s16i(zero, out)
    a.addi(out, out, 2)
    a.label("masked")
    a.arguments(rows=n, causal=x)
    a.add(visible, visible, x)
    a.addi(n, n, -1)
    a.keep(n, "rows")
    a.bnez(n, "row")


def pack_values(a: XtensaFunction) -> None:
    """packed = -v as int16 [head_dim, keys rounded up to 4], transposed."""
    v, packed, keys, columns, stride, source, t, fill, zero = range(2, 11)
    a.arguments(v=v, packed=packed, keys=keys, head_dim=columns)
    a.movi(zero, 0)
    a.mov(stride, columns)
    a.neg(fill, keys)
    a.extui(fill, fill, 0, 2)  # zeros to add
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


def weighted_sum(a: XtensaFunction) -> None:
    """A row of weights is packed behind the values."""
    v, row, out, groups, weights, p, m, shift, columns, zero, acc, t, y = range(2, 15)
    a.arguments(out=out, first=t, head_dim=columns, keys=groups, shift=shift)
    a.mull(t, t, columns)
    a.add(out, out, t)
    a.addi(groups, groups, 3)
    a.srli(groups, groups, 2)
    a.addi(shift, shift, -16)
    a.movi(zero, 0)
    a.label("row")
    a.arguments(v=v, weights=weights, head_dim=columns)
    a.mull(row, groups, columns)
    a.slli(row, row, 3)
    a.add(row, row, v)
    a.mov(t, row)
    a.loopnez(groups, "packed")  # up to three weights of the next row meet zeros of v
    for i in range(4):
        a.l16ui(acc, weights, 2 * i)
        a.neg(acc, acc)
        a.s16i(acc, t, 2 * i)
    a.addi(weights, weights, 8)
    a.addi(t, t, 8)
    a.label("packed")
    a.arguments(sums=y, num=m, weights=weights, keys=t)
    a.addx2(weights, t, weights)
    a.keep(weights, "weights")
    a.l32i(t, y)
    a.addi(y, y, 4)
    a.keep(y, "sums")
    reciprocal(a, p, m, t, acc, zero)
    a.addi(row, row, -4)
    a.addi(v, v, -4)
    a.ldinc(0, v)
    a.label("column")
    dot16(a, v, y, row, groups, zero, "dot")
    a.rsr(acc, ACCLO)
    a.ssr(p)
    a.sra(acc, acc)
    scale(a, acc, m, t)
    a.movi(t, -127)
    round_shift(a, acc, shift, t)
    a.s8i(acc, out)
    a.addi(out, out, 1)
    a.addi(columns, columns, -1)
    a.bnez(columns, "column")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.bnez(t, "row")


def attend(a: XtensaFunction) -> None:
    """All of a head, row by row: scores with their maximum, numerators, the sums of values. A row
    that sees fewer keys takes fewer products.
    """
    t, u, keys, room = range(2, 6)
    a.arguments(head_dim=t, keys=keys, mask=u, at=room)
    a.add(u, u, room)
    a.keep(u, "mask")
    a.arguments(room=room)
    a.keep(room, "query")  # at a multiple of eight
    row_bytes(a, t, t)
    a.add(room, room, t)
    a.addi(room, room, 8)
    a.keep(room, "weights")
    row_bytes(a, t, keys)
    a.add(room, room, t)
    a.addi(room, room, 8)
    a.keep(room, "room")  # of the scores
    a.arguments(causal=u, shift=t)
    a.beqz(u, "all visible")
    a.movi(keys, 1)
    a.label("all visible")
    a.keep(keys, "visible")
    half_of(a, u, t)
    a.movi(room, INDEX)
    a.sub(t, room, t)  # so many bits are missing below those that are looked up, or there are more
    a.movi(room, 0)
    a.max(keys, t, room)
    a.ssl(keys)
    a.sll(u, u)
    a.keep(u, "half")
    a.arguments(mult=u)
    a.sll(u, u)
    a.keep(u, "mult")
    a.sub(keys, keys, t)
    a.keep(keys, "down")
    a.arguments(out_shift=t)
    a.movi(u, 33)
    a.sub(t, u, t)
    a.movi(u, 1)
    a.ssl(t)
    a.sll(u, u)
    a.keep(u, "power")
    a.label("row")
    attend_scores(a)
    attend_numerators(a)
    attend_values(a)
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


INDEX = 19  # the bit at which 8 bits of a numerator's logarithm begin that are looked up
UNROLLED = (2, 4, 8)  # groups of four dimensions that have a loop of their own


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

    def score(g: int | None, place: int) -> None:
        a.wsr(zero, ACCLO)
        a.mov(y, start)
        if g is None:
            product16(a, k, y, groups, "any dot")
        else:
            for _ in range(g):
                group16(a, k, y)
        a.rsr(t, ACCLO)
        a.s32i(t, out, place)
        a.max(largest, largest, t)

    for g in UNROLLED:
        a.movi(t, g)
        a.branch("ne", groups, t, f"not {g}")
        a.j(f"{g} groups")
        a.label(f"not {g}")
    a.label("any score")
    score(None, 0)
    a.addi(out, out, 4)
    a.addi(visible, visible, -1)
    a.bnez(visible, "any score")
    a.j("scored")
    for g in UNROLLED:
        a.label(f"{g} groups")
        pairs = 2 if g < 8 else 1
        if pairs == 2:
            a.srli(t, visible, 1)
            a.extui(visible, visible, 0, 1)
            a.loopnez(t, f"{g} pair")
            score(g, 0)
            score(g, 4)
            a.addi(out, out, 8)
            a.label(f"{g} pair")
        a.loopnez(visible, f"{g} score")
        score(g, 0)
        a.addi(out, out, 4)
        a.label(f"{g} score")
        a.j("scored")
    a.label("scored")
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


def attend_numerators(a: XtensaFunction) -> None:
    """-1 * the numerators of what the row sees, filled up with zeros; t = half + mult * a distance
    stands at bit INDEX. Leaves the sum in `total`.
    """
    score, out, table, visible, mult, half, threshold, total, down = range(2, 11)
    v, w, x, t = 11, 12, 13, 15
    a.arguments(room=score, weights=out, table=table, visible=visible)
    a.arguments(mult=mult, half=half, largest=v, limit=threshold, down=down)
    a.movi(t, -1)
    a.movi(w, -1)
    a.slli(w, w, 30)
    a.mull(x, v, mult)
    a.add(half, half, x)
    a.sub(threshold, v, threshold)
    a.branch("ne", v, w, "some are shown")
    a.srli(threshold, t, 1)
    a.label("some are shown")
    a.movi(total, 0)
    a.bnez(down, "finer")
    numerators(a, "coarse", False)
    a.label("finer")
    a.ssr(down)
    numerators(a, "fine", True)
    a.label("numerators are there")
    a.arguments(visible=t)
    a.addi(v, t, 3)
    a.srli(v, v, 2)
    a.keep(v, "groups")
    a.neg(t, t)
    a.extui(t, t, 0, 2)
    a.movi(v, 0)
    a.loopnez(t, "fill numerators")
    a.s16i(v, out)
    a.addi(out, out, 2)
    a.label("fill numerators")


def numerators(a: XtensaFunction, name: str, finer: bool) -> None:
    """The register map is that of attend_numerators."""
    score, out, table, visible, mult, half, threshold, total, down = range(2, 11)
    pairs = ((11, 13), (12, 14))
    t = 15

    def body(count: int) -> None:
        some = pairs[:count]
        for i, (v, _) in enumerate(some):
            a.l32i(v, score, 4 * i)
        a.addi(score, score, 4 * count)
        for v, x in some:
            a.mull(x, v, mult)
        for _, x in some:
            a.sub(x, half, x)
        if finer:
            a.ssr(down)
            for _, x in some:
                a.srl(x, x)
        for i, (v, _) in enumerate(some):
            a.branch("lt", v, threshold, f"{name} far {count} {i}")
            a.label(f"{name} not far {count} {i}")
        for v, x in some:
            a.extui(v, x, INDEX, 8)
        for v, _ in some:
            a.addx2(v, v, table)
        for v, _ in some:
            a.l16ui(v, v)
        for _, x in some:
            a.extui(x, x, INDEX + 8, 5)
        for v, x in some:
            a.ssr(x)
            a.srl(v, v)
        for v, _ in some:
            a.neg(v, v)
        for v, _ in some:
            a.srai(v, v, 1)
        for i, (v, _) in enumerate(some):
            a.s16i(v, out, 2 * i)
            a.add(total, total, v)
        a.addi(out, out, 2 * count)

    a.extui(t, visible, 0, 1)
    a.srli(visible, visible, 1)
    a.loopnez(visible, name + " pair")
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


def attend_values(a: XtensaFunction) -> None:
    """The row's results, of its sum in `total`."""
    row, p, m, total, t, zero = 2, 3, 4, 9, 5, 6
    a.arguments(num=m)
    a.movi(zero, 0)
    a.neg(total, total)
    reciprocal(a, p, m, total, t, zero)  # leaves p as the shift
    a.arguments(power=t)
    a.mull(m, m, t)
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
