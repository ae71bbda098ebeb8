"""Attention of one token to a cache of int16 on LX6 and LX7: attn8/forms/viper/decode16.py says
what it computes.

Scores and weighted sums are products of int16 in memory, one an instruction, in ACC. Its low word
is all of a sum: scores are below 2**29 by the bounds of q and k, and weights, 0 or more and below
2**15 in all, times values of up to 2**15 below 2**30. Keys of eight dimensions are multiplied with
a query that stays in registers. Weights become int16, as each is below 2**15, with zeros up to a
whole four; four slots of a dimension are two words, and one that holds no token counts for nothing.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import group16, round_bit, scale
from .decode_xtensa import LARGEST, STRIDE, TOTAL, ZERO, M, N, T, X, Y, factor, numerators

SPARE = {"attend": ("size", "left", "factor", "far", "total")}
EIGHT = 8  # dimensions


def put(a: XtensaFunction) -> None:
    k, v, keys, values, slot, size, t = range(2, 9)
    a.arguments(k=k, v=v, keys=keys, values=values, slot=slot, size=size)
    a.mull(t, slot, size)
    a.addx2(keys, t, keys)
    a.extui(t, slot, 0, 2)
    a.addx2(values, t, values)
    a.sub(slot, slot, t)
    a.mull(slot, slot, size)
    a.addx2(values, slot, values)
    a.loopnez(size, "put")
    a.l16ui(t, k)
    a.addi(k, k, 2)
    a.s16i(t, keys)
    a.l16ui(t, v)
    a.addi(v, v, 2)
    a.addi(keys, keys, 2)
    a.s16i(t, values)
    a.addi(values, values, 8)
    a.label("put")


def attend(a: XtensaFunction) -> None:
    heads(a, scores, weighted)


def heads(
    a: XtensaFunction, scores: Callable[[XtensaFunction], None],
    weighted: Callable[[XtensaFunction], None],
) -> None:
    """`attend`, of what makes a head's scores and what sums its values."""
    t, u, v, w, x = range(2, 7)
    a.arguments(mult=t, shift=u)
    factor(a, 33, t, u, (v, w, x))
    a.arguments(kv_heads=t, head_dim=u)
    a.mull(t, t, u)
    a.slli(t, t, 1)
    a.keep(t, "size")  # bytes from one slot of keys to the next
    a.label("keys")
    a.arguments(heads=t, kv_heads=u)
    a.quou(t, t, u)
    a.keep(t, "left")  # heads of queries to one of keys and values
    a.label("head")
    scores(a)
    weights(a)
    weighted(a)
    a.arguments(left=t)
    a.addi(t, t, -1)
    a.keep(t, "left")
    a.beqz(t, "heads done")
    a.j("head")
    a.label("heads done")
    a.arguments(keys=t, values=u, head_dim=v, acc=w, kv_heads=x)
    a.addx2(t, v, t)
    a.keep(t, "keys")
    a.slli(v, v, 3)
    a.add(u, u, v)
    a.keep(u, "values")
    a.addi(w, w, 1)
    a.keep(w, "acc")
    a.branch("eq", w, x, "done")  # acc, 0 at first, counts heads of keys
    a.j("keys")
    a.label("done")


def scores(a: XtensaFunction) -> None:
    """Scores of a head; LARGEST = the largest of them."""
    k, q, out, size, sum, n, d, y, zero = 2, 3, 4, 6, 7, 8, 9, 14, 15
    a.movi(LARGEST, 1)
    a.slli(LARGEST, LARGEST, 31)
    a.arguments(keys=k, q=q, row=out, size=size, count=n, head_dim=d)

    def done() -> None:
        a.add(k, k, size)
        a.rsr(sum, ACCLO)
        a.max(LARGEST, LARGEST, sum)
        a.s32i(sum, out)
        a.addi(out, out, 4)

    a.addi(k, k, -4)
    a.addi(y, d, -EIGHT)
    a.bnez(y, "other dimensions")
    query = range(10, 14)
    for i, word in enumerate(query):
        a.l32i(word, q, 4 * i)
    a.addi(size, size, -2 * EIGHT)
    a.loopnez(n, "key of eight")
    a.ldinc(0, k)
    for i, word in enumerate(query):
        m, other = i % 2, (i + 1) % 2
        if i == 0:
            a.mul_da(LL, m, word)
        else:
            a.mula_da(LL, m, word)
        if i < 3:
            a.mula_da_ldinc(HH, other, k, m, word)
        else:
            a.mula_da(HH, m, word)
    done()
    a.label("key of eight")
    a.j("scored")
    a.label("other dimensions")
    a.addi(q, q, -4)
    a.slli(y, d, 1)
    a.sub(size, size, y)
    a.srli(d, d, 2)
    a.addi(d, d, -1)
    a.movi(zero, 0)
    a.label("key")
    a.mov(y, q)
    begin(a, k, y, zero)
    a.loopnez(d, "four dimensions")
    group16(a, k, y)
    a.label("four dimensions")
    last(a, k)
    done()
    a.addi(n, n, -1)
    a.bnez(n, "key")
    a.label("scored")


def begin(a: XtensaFunction, x: int, y: int, zero: int) -> None:
    """ACC = 0, and what `group16` or `last` multiplies first; x and y stand a word before."""
    a.ldinc(0, x)
    a.ldinc(2, y)
    a.ldinc(3, y)
    a.wsr(zero, ACCLO)


def last(a: XtensaFunction, x: int) -> None:
    """The last group of products: nothing behind it is loaded."""
    a.mula_dd_ldinc(LL, 1, x, 0, 2)
    a.mula_dd(HH, 0, 2)
    a.mula_dd(LL, 1, 3)
    a.mula_dd(HH, 1, 3)


def weights(a: XtensaFunction) -> None:
    """Weights of int16 in the place of a head's scores, and zeros up to four; total = their sum."""
    a.arguments(row=N)
    a.movi(STRIDE, 4)
    numerators(a)
    out = STRIDE
    a.movi(TOTAL, 0)
    a.arguments(row=N, count=T)
    a.mov(out, N)
    a.loopnez(T, "weight")
    a.l32i(X, N)
    a.addi(N, N, 4)
    a.mull(X, X, M)
    a.add(X, X, Y)
    a.sra(X, X)
    a.add(TOTAL, TOTAL, X)
    a.s16i(X, out)
    a.addi(out, out, 2)
    a.label("weight")
    for i in range(3):
        a.s16i(ZERO, out, 2 * i)
    a.keep(TOTAL, "total")


def weighted(a: XtensaFunction) -> None:
    """A dimension at a time in the place of q, which moves to the next head."""
    values, weights, out, x, y, n, step, left, m, low, shift, sum, t, zero = range(2, 16)
    a.arguments(values=values, row=weights, q=out, size=step, count=n, head_dim=left)
    output(a, m, low, shift, t)
    a.addi(values, values, -4)
    a.addi(weights, weights, -4)
    a.slli(step, step, 2)
    a.addi(step, step, -8)  # from the second word of a group to the next group
    a.addi(n, n, -1)
    a.srli(n, n, 2)  # groups before the last one
    a.movi(zero, 0)
    a.label("dimension")
    a.mov(x, values)
    a.mov(y, weights)
    begin(a, x, y, zero)
    a.loopnez(n, "four slots")
    a.mula_dd_ldinc(LL, 1, x, 0, 2)
    a.mula_dd_ldinc(HH, 2, y, 0, 2)
    a.add(x, x, step)
    a.mula_dd_ldinc(LL, 0, x, 1, 3)
    a.mula_dd_ldinc(HH, 3, y, 1, 3)
    a.label("four slots")
    last(a, x)
    a.addi(values, values, 8)
    a.rsr(sum, ACCLO)
    requantize(a, sum, m, low, shift, t)
    a.s16i(sum, out)
    a.addi(out, out, 2)
    a.addi(left, left, -1)
    a.bnez(left, "dimension")
    a.keep(out, "q")


def output(a: XtensaFunction, m: int, low: int, shift: int, t: int) -> None:
    """What `requantize` takes for a head's results: the reciprocal m, the least result, a shift."""
    a.arguments(num=m, total=t, out_shift=shift)
    a.srli(low, t, 1)
    a.add(m, m, low)
    a.quou(m, m, t)
    a.addi(shift, shift, -16)
    a.movi(low, -1)
    a.slli(low, low, 15)
    a.addi(low, low, 1)


def requantize(a: XtensaFunction, sum: int, m: int, low: int, shift: int, t: int) -> None:
    scale(a, sum, m, t)
    a.ssr(shift)
    a.sra(sum, sum)
    round_bit(a, sum, low, 15)
