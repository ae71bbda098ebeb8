"""Attention of one token to a cache of int8 on LX6 and LX7: attn8/forms/viper/decode8.py says what
it computes.

Scores are products of int16 with words of int8, as those of matmul16: 256 times the sum is in ACC.
Weights times steps have 23 bits, so that values are multiplied one by one, four dimensions at a
time.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCHI, ACCLO, HH, LL
from .common_xtensa import scale

SPARE = {"scores": ("left",), "weighted": ("left", "column")}


def scores(a: XtensaFunction) -> None:
    k, steps, out, x, start, words, skip, kv, mask, zero, v, t, m, n = range(2, 16)
    a.arguments(q=start, heads=n, head_dim=words)
    order(a, start, n, words, (x, v, t, m))
    a.arguments(q=start, out=out, kv_heads=kv, head_dim=words)
    a.addi(start, start, -4)
    a.addi(skip, kv, -1)
    a.mull(skip, skip, words)  # from one slot's keys of a head to the next one's
    a.srli(words, words, 2)
    a.movi(t, 255)
    a.slli(mask, t, 24)
    a.slli(t, t, 8)
    a.or_(mask, mask, t)
    a.movi(zero, 0)
    a.label("keys")
    share(a, n, t)
    a.label("head")
    a.arguments(keys=k, steps=steps, count=n)
    a.ssai(8)
    a.label("key")
    a.mov(x, start)
    a.wsr(zero, ACCLO)
    a.wsr(zero, ACCHI)
    a.loopnez(words, "word")
    a.l32i(v, k)
    a.addi(k, k, 4)
    a.ldinc(0, x)
    a.ldinc(1, x)
    a.and_(t, v, mask)
    a.slli(v, v, 8)
    a.and_(v, v, mask)
    a.mula_da(LL, 0, t)
    a.mula_da(HH, 0, t)
    a.mula_da(LL, 1, v)
    a.mula_da(HH, 1, v)
    a.label("word")
    a.add(k, k, skip)
    a.l8ui(t, steps)
    a.add(steps, steps, kv)
    a.rsr(m, ACCHI)
    a.rsr(v, ACCLO)
    a.src(v, m, v)
    a.mull(v, v, t)
    a.s32i(v, out)
    a.addi(out, out, 4)
    a.addi(n, n, -1)
    a.bnez(n, "key")
    a.slli(t, words, 3)
    a.add(start, start, t)
    a.arguments(left=n)
    a.addi(n, n, -1)
    a.keep(n, "left")
    a.bnez(n, "head")
    next_head(a, "keys", t, n)


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


def share(a: XtensaFunction, n: int, t: int) -> None:
    """left = heads of queries to one of keys and values."""
    a.arguments(heads=n, kv_heads=t)
    a.quou(n, n, t)
    a.keep(n, "left")


def next_head(a: XtensaFunction, label: str, t: int, n: int) -> None:
    """Back to the label with the next head of keys or values, and of steps; `acc`, which is 0 at
    first, counts them. The label is the argument's name."""
    a.arguments(**{label: t}, head_dim=n)
    a.add(t, t, n)
    a.keep(t, label)
    a.arguments(steps=t, acc=n)
    a.addi(t, t, 1)
    a.keep(t, "steps")
    a.addi(n, n, 1)
    a.keep(n, "acc")
    a.arguments(kv_heads=t)
    a.branch("eq", n, t, "done")
    a.j(label)
    a.label("done")


def weighted(a: XtensaFunction) -> None:
    values, weights, a0, a1, a2, a3, v, p, t, out, size, m, shift, n = range(2, 16)
    sums = (a0, a1, a2, a3)
    a.arguments(out=out, kv_heads=size, head_dim=t, shift=shift)
    a.mull(size, size, t)
    a.addi(shift, shift, -16)
    a.label("values")
    share(a, n, t)
    a.label("head")
    # weights times steps
    a.arguments(weights=weights, steps=v, count=n, kv_heads=a0)
    a.loopnez(n, "product")
    a.l32i(t, weights)
    a.l8ui(p, v)
    a.add(v, v, a0)
    a.mull(t, t, p)
    a.s32i(t, weights)
    a.addi(weights, weights, 4)
    a.label("product")
    # the sum's reciprocal
    a.arguments(sums=v, num=m)
    a.l32i(t, v)
    a.addi(v, v, 4)
    a.keep(v, "sums")
    a.srli(p, t, 1)
    a.add(m, m, p)
    a.quou(m, m, t)
    a.movi(t, 0)
    a.keep(t, "column")
    a.label("column")
    a.arguments(values=values, weights=weights, column=t, count=n)
    a.add(values, values, t)
    for register in sums:
        a.movi(register, 0)
    a.loopnez(n, "slot")
    a.l32i(v, values)
    a.l32i(p, weights)
    a.add(values, values, size)
    a.addi(weights, weights, 4)
    a.sext(t, v, 7)
    a.mull(t, t, p)
    a.add(a0, a0, t)
    a.slli(t, v, 16)
    a.srai(t, t, 24)
    a.mull(t, t, p)
    a.add(a1, a1, t)
    a.slli(t, v, 8)
    a.srai(t, t, 24)
    a.mull(t, t, p)
    a.add(a2, a2, t)
    a.srai(t, v, 24)
    a.mull(t, t, p)
    a.add(a3, a3, t)
    a.label("slot")
    a.movi(p, -1)
    a.slli(p, p, 15)
    a.addi(p, p, 1)
    a.neg(v, p)
    for i, register in enumerate(sums):
        scale(a, register, m, t)
        a.ssr(shift)
        a.sra(register, register)
        a.addi(register, register, 1)
        a.srai(register, register, 1)
        a.max(register, register, p)
        a.min(register, register, v)
        a.s16i(register, out, 2 * i)
    a.addi(out, out, 8)
    a.arguments(column=t, head_dim=n)
    a.addi(t, t, 4)
    a.keep(t, "column")
    a.branch("eq", t, n, "columns done")
    a.j("column")
    a.label("columns done")
    a.keep(weights, "weights")  # which stand behind this head's
    a.arguments(left=n)
    a.addi(n, n, -1)
    a.keep(n, "left")
    a.bnez(n, "head")
    next_head(a, "values", t, n)
