"""Softmax attention on LX6 and LX7: attn8/forms/viper/attention.py says what each kernel computes.

Keys, queries, values and softmax numerators are multiplied as int16, each row filled up with zeros
to a multiple of four: two words in m registers give two products, and every instruction of the
inner loop both multiplies and loads.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO
from .common_xtensa import dot16, half_of, reciprocal, round_shift, scale, widen_row


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
    """packed = int16 [head_dim, keys rounded up to 4], transposed; 32768 * the sum of each column,
    int32 [head_dim]; and room for a row of weights.
    """
    v, packed, keys, columns, stride, source, total, t, sums, fill, zero = range(2, 13)
    a.arguments(v=v, packed=packed, keys=keys, head_dim=columns)
    a.movi(zero, 0)
    a.mov(stride, columns)
    a.addi(t, keys, 3)
    a.srli(t, t, 2)
    a.slli(t, t, 3)  # bytes a row
    a.mull(sums, t, columns)
    a.add(sums, sums, packed)
    a.neg(fill, keys)
    a.extui(fill, fill, 0, 2)  # zeros to add
    a.label("column")
    a.mov(source, v)
    a.mov(total, zero)
    a.loopnez(keys, "value")
    a.l8ui(t, source)
    a.add(source, source, stride)
    a.sext(t, t, 7)
    a.s16i(t, packed)
    a.addi(packed, packed, 2)
    a.add(total, total, t)
    a.label("value")
    a.loopnez(fill, "fill")
    a.s16i(zero, packed)
    a.addi(packed, packed, 2)
    a.label("fill")
    a.slli(total, total, 15)
    a.s32i(total, sums)
    a.addi(sums, sums, 4)
    a.addi(v, v, 1)
    a.addi(columns, columns, -1)
    a.bnez(columns, "column")


def weighted_sum(a: XtensaFunction) -> None:
    """Weights reach 32768, beyond int16: 32768 is taken off each and given back by the sums."""
    v, row, out, groups, weights, p, m, shift, columns, sums, zero, acc, t, y = range(2, 16)
    a.arguments(out=out, first=t, head_dim=columns, keys=groups, shift=shift)
    a.mull(t, t, columns)
    a.add(out, out, t)
    a.addi(groups, groups, 3)
    a.srli(groups, groups, 2)
    a.addi(shift, shift, -16)
    a.movi(zero, 0)
    a.label("row")
    a.arguments(v=v, weights=weights, head_dim=columns)
    a.mull(sums, groups, columns)
    a.slli(sums, sums, 3)
    a.add(sums, sums, v)
    a.addx4(row, columns, sums)
    a.movi(y, 1)
    a.slli(y, y, 15)
    a.mov(t, row)
    a.loopnez(groups, "offset")  # up to three weights of the next row meet zeros of v
    for i in range(4):
        a.l16ui(acc, weights, 2 * i)
        a.xor(acc, acc, y)
        a.s16i(acc, t, 2 * i)
    a.addi(weights, weights, 8)
    a.addi(t, t, 8)
    a.label("offset")
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
    a.l32i(t, sums)
    a.rsr(acc, ACCLO)
    a.addi(sums, sums, 4)
    a.add(acc, acc, t)
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
