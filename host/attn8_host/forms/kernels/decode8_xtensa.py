"""Attention of one token to a cache of int8 on LX6 and LX7: attn8/forms/viper/decode8.py says what
it computes.

Scores are products of int16 with words of int8, as those of matmul16, of eight dimensions at a
time: 256 times such a sum fits the low word of ACC, as |q| <= 8065 from eight dimensions on. Two
heads of eight dimensions share what is unpacked of a key. Scores stand twice as large, and those of
a group of heads, one or two, lie by turns.

A word of values, 128 added to each of its four, is multiplied as it is, and without its lowest one,
two and three of them: in the sums, modulo 2**32, each less 256 times the next is that of one value.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import scale
from .decode_xtensa import (
    BELOW,
    LARGEST,
    STRIDE,
    TABLE,
    TOTAL,
    ZERO,
    M,
    N,
    P,
    T,
    X,
    Y,
    factor,
    numerators,
)

SPARE = {"attend": ("size", "left", "group", "head_row", "stride", "largest", "other", "factor",
                    "far", "column", "total", "offset")}
EIGHT = 8  # dimensions


def attend(a: XtensaFunction) -> None:
    q, t, u, v, w, x = range(2, 8)
    a.arguments(q=q, heads=t, head_dim=u)
    order(a, q, t, u, (v, w, x, 8))
    a.arguments(mult=t, shift=u, kv_heads=v, head_dim=w)
    a.mull(v, v, w)
    a.keep(v, "size")  # from one slot to the next
    factor(a, 32, t, u, (v, w, x))
    a.label("keys")
    a.arguments(heads=t, kv_heads=u)
    a.quou(t, t, u)
    a.keep(t, "left")  # heads of queries to one of keys and values
    a.label("group")
    a.arguments(left=t, head_dim=u, row=v)
    a.keep(v, "head_row")
    a.movi(w, 1)
    a.branch("eq", t, w, "one")
    a.addi(x, u, -EIGHT)
    a.beqz(x, "two")
    a.label("one")
    a.keep(w, "group")
    a.movi(w, 4)
    a.keep(w, "stride")
    one_scores(a)
    a.j("head")
    a.label("two")
    a.movi(w, 2)
    a.keep(w, "group")
    a.movi(w, 8)
    a.keep(w, "stride")
    two_scores(a)
    a.label("head")
    weights(a)
    weighted(a)
    a.arguments(left=t, group=u, head_row=v, other=w)
    a.addi(t, t, -1)
    a.keep(t, "left")
    a.addi(v, v, 4)
    a.keep(v, "head_row")
    a.keep(w, "largest")
    a.addi(u, u, -1)
    a.keep(u, "group")
    a.beqz(u, "group done")
    a.j("head")
    a.label("group done")
    a.beqz(t, "heads done")
    a.j("group")
    a.label("heads done")
    a.arguments(keys=t, values=u, head_dim=v)
    a.add(t, t, v)
    a.keep(t, "keys")
    a.add(u, u, v)
    a.keep(u, "values")
    a.arguments(key_steps=t, value_steps=u, acc=v, kv_heads=w)
    for step, name in (t, "key_steps"), (u, "value_steps"), (v, "acc"):
        a.addi(step, step, 1)
        a.keep(step, name)
    a.branch("eq", v, w, "done")  # acc, 0 at first, counts heads of keys
    a.j("keys")
    a.label("done")


def order(
    a: XtensaFunction, x: int, heads: int, head_dim: int, t: tuple[int, int, int, int]
) -> None:
    """x1 and x3 in one word, x0 and x2 in the next, for each four of q, where they are."""
    a.mull(heads, heads, head_dim)
    a.srli(heads, heads, 2)
    a.loopnez(heads, "ordered")
    for place, register in enumerate(t):
        a.l16si(register, x, 2 * place)
    for place, register in enumerate(t):
        a.s16i(register, x, (4, 0, 6, 2)[place])
    a.addi(x, x, 8)
    a.label("ordered")


def unpack(a: XtensaFunction, k: int, mask: int, t: tuple[int, int, int, int]) -> None:
    """Eight values of a key, 256 times as large: odd ones of the first word, its even ones, and of
    the second word."""
    a.l32i(t[0], k, 0)
    a.l32i(t[2], k, 4)
    for odd, even in (t[:2], t[2:]):
        a.slli(even, odd, 8)
        a.and_(odd, odd, mask)
        a.and_(even, even, mask)


def lowest(a: XtensaFunction, *registers: int) -> None:
    for register in registers:
        a.movi(register, 1)
        a.slli(register, register, 31)


def mask_of(a: XtensaFunction, mask: int, t: int) -> None:
    a.movi(t, 255)
    a.slli(mask, t, 24)
    a.slli(t, t, 8)
    a.or_(mask, mask, t)


def products_with(
    a: XtensaFunction, q: int, words: tuple[int, int, int, int], back: int = 0
) -> None:
    """ACC = the sum of products of what is unpacked of a key with eight values of a query, which
    m0 and the words behind q have; loads m0 for what follows it, `back` bytes before."""
    for i, word in enumerate(words):
        m, other = i % 2, (i + 1) % 2
        if i == 3 and back:
            a.addi(q, q, -back)
        if i == 0:
            a.mul_da(LL, m, word)
            a.mula_da_ldinc(HH, other, q, m, word)
        else:
            a.mula_da_ldinc(LL, other, q, m, word)
            a.mula_da(HH, m, word)


def two_scores(a: XtensaFunction) -> None:
    """Scores of two heads of eight dimensions."""
    q, k, steps, out, size, kv, mask, largest, other, t0, v0, t1, v1, sum = range(2, 16)
    words = t0, v0, t1, v1
    mask_of(a, mask, sum)
    lowest(a, largest, other)
    a.arguments(q=q, keys=k, key_steps=steps, row=out, size=size, kv_heads=kv, count=sum)
    a.addi(q, q, -4)
    a.ldinc(0, q)
    a.loopnez(sum, "two keys")
    unpack(a, k, mask, words)
    products_with(a, q, words)
    a.rsr(sum, ACCLO)
    products_with(a, q, words, 32)
    a.l8ui(v0, steps)
    a.rsr(t0, ACCLO)
    a.add(k, k, size)
    a.srai(sum, sum, 7)
    a.srai(t0, t0, 7)
    a.mull(sum, sum, v0)
    a.mull(t0, t0, v0)
    a.add(steps, steps, kv)
    a.s32i(sum, out, 0)
    a.s32i(t0, out, 4)
    a.max(largest, largest, sum)
    a.max(other, other, t0)
    a.addi(out, out, 8)
    a.label("two keys")
    a.keep(largest, "largest")
    a.keep(other, "other")


def one_scores(a: XtensaFunction) -> None:
    """Scores of one head, of its first eight dimensions at first; those of the next ones are
    added."""
    more, k, steps, out, size, q, mask, largest, column, t0, v0, t1, v1, sum = range(2, 16)
    words = t0, v0, t1, v1
    mask_of(a, mask, sum)
    a.movi(column, 0)
    a.arguments(size=size)
    a.label("one column")
    lowest(a, largest)
    a.arguments(q=q, keys=k, key_steps=steps, row=out, head_dim=more, count=sum)
    a.add(k, k, column)
    a.addx2(q, column, q)
    a.addi(q, q, -4)
    a.ldinc(0, q)
    a.addi(more, more, -EIGHT)
    a.sub(more, more, column)  # dimensions beyond these
    a.loopnez(sum, "one key")
    unpack(a, k, mask, words)
    products_with(a, q, words, 16)
    a.add(k, k, size)
    a.rsr(sum, ACCLO)
    a.srai(sum, sum, 7)
    a.beqz(column, "first eight")
    a.l32i(t0, out)
    a.add(sum, sum, t0)
    a.label("first eight")
    a.bnez(more, "not whole")
    a.l8ui(t0, steps)
    a.mull(sum, sum, t0)
    a.label("not whole")
    a.arguments(kv_heads=t0)
    a.add(steps, steps, t0)
    a.max(largest, largest, sum)
    a.s32i(sum, out)
    a.addi(out, out, 4)
    a.label("one key")
    a.addi(column, column, EIGHT)
    a.addi(more, more, -1)
    a.bltz(more, "all columns")
    a.j("one column")
    a.label("all columns")
    a.keep(largest, "largest")


def weights(a: XtensaFunction) -> None:
    """Weights times steps in the place of a head's scores; total = the sum of the weights, offset =
    128 times that of what takes their place."""
    a.arguments(head_row=N, stride=STRIDE, largest=LARGEST)
    numerators(a)
    total, step, steps, kv, offset = TOTAL, P, TABLE, BELOW, ZERO
    a.movi(total, 0)
    a.movi(offset, 0)
    a.arguments(head_row=N, value_steps=steps, kv_heads=kv, count=T)
    a.loopnez(T, "weight")
    a.l32i(X, N)
    a.l8ui(step, steps)
    a.mull(X, X, M)
    a.add(steps, steps, kv)
    a.add(X, X, Y)
    a.sra(X, X)
    a.add(total, total, X)
    a.mull(X, X, step)
    a.s32i(X, N)
    a.add(N, N, STRIDE)
    a.add(offset, offset, X)
    a.label("weight")
    a.keep(total, "total")
    a.slli(offset, offset, 7)
    a.keep(offset, "offset")


def weighted(a: XtensaFunction) -> None:
    """Eight dimensions at a time in the place of q, which moves to the next head."""
    values, weights, t, a0, a1, a2, a3, a4, a5, a6, a7, v, p, offsets = range(2, 16)
    sums = (a0, a1, a2, a3, a4, a5, a6, a7)
    a.movi(t, 0)
    a.label("column")
    a.keep(t, "column")
    a.arguments(values=values, head_row=weights, stride=p, count=v)
    a.add(values, values, t)
    a.movi(offsets, 128)
    for bits in 8, 16:
        a.slli(t, offsets, bits)
        a.or_(offsets, offsets, t)
    for register in sums:
        a.movi(register, 0)
    a.addi(p, p, -4)
    a.bnez(p, "by turns")
    for name in "slot", "by turns":
        if name == "by turns":
            a.j("sums")
            a.label(name)
        a.loopnez(v, name + " done")
        a.l32i(p, weights)
        a.l32i(v, values, 0)
        a.addi(weights, weights, 4 if name == "slot" else 8)
        a.xor(v, v, offsets)
        products(a, v, p, t, sums[:4])
        a.l32i(v, values, 4)
        a.arguments(size=t)
        a.xor(v, v, offsets)
        a.add(values, values, t)
        products(a, v, p, t, sums[4:])
        a.label(name + " done")
    a.label("sums")
    out, m, low, high, shift = values, weights, v, p, offsets
    a.arguments(offset=v)
    for i, register in enumerate(sums):
        if i % 4 < 3:
            a.slli(t, sums[i + 1], 8)
            a.sub(register, register, t)
        a.sub(register, register, v)
    a.arguments(q=out, num=m, total=t, out_shift=shift)
    a.srli(low, t, 1)
    a.add(m, m, low)
    a.quou(m, m, t)
    a.addi(shift, shift, -16)
    a.movi(low, -1)
    a.slli(low, low, 15)
    a.addi(low, low, 1)
    a.neg(high, low)
    for i, register in enumerate(sums):
        scale(a, register, m, t)
        a.ssr(shift)
        a.sra(register, register)
        a.addi(register, register, 1)
        a.srai(register, register, 1)
        a.max(register, register, low)
        a.min(register, register, high)
        a.s16i(register, out, 2 * i)
    a.addi(out, out, 2 * EIGHT)
    a.keep(out, "q")
    a.arguments(column=t, head_dim=v)
    a.addi(t, t, EIGHT)
    a.branch("ge", t, v, "columns done")
    a.j("column")
    a.label("columns done")


def products(a: XtensaFunction, v: int, p: int, t: int, sums: tuple[int, ...]) -> None:
    """sums += p times the word v, and v without its lowest byte, two and three."""
    for i, register in enumerate(sums):
        if i == 0:
            a.mull(t, v, p)
        else:
            if i == 1:
                a.srli(t, v, 8)
            else:
                a.extui(t, v, 8 * i, 32 - 8 * i)
            a.mull(t, t, p)
        a.add(register, register, t)
