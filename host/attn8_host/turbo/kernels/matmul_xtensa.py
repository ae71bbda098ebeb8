"""int8 matrix product on LX6 and LX7: attn8/kernels/matmul.py says what it computes.

Weights are packed as bytes, w + 128. A word of four, w0..w3, becomes two words of int16 halves by
two masks: w & 0x00FF00FF holds w0 and w2, and w >> 8, masked, w1 and w3. A row of x is widened
once, in the same order. ACCLO starts at what takes the offset of the weights off again. Rows of
weights that start at multiples of four are read in words, others through a funnel shift.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import round_shift, scale

# Register map
W, X, X_START, OUT, CONSTANTS, BLOCKS, WORDS, MASK, END, START, LOW = range(2, 13)
V, T, M = 13, 14, 15
# START is what the accumulator starts at, -128 * sum(x); LOW is -127.

BLOCK = 8  # words in the unrolled loop


def matmul(a: XtensaFunction) -> None:
    """bias: int32 [outputs, 3], bias, mult, shift - 16; mult and shift are not used."""
    a.arguments(out=OUT)
    a.movi(LOW, -127)
    a.movi(MASK, 255)
    a.slli(T, MASK, 16)
    a.or_(MASK, MASK, T)
    a.label("row")
    widen(a)
    a.arguments(w=W, bias=CONSTANTS, outputs=END, wide=V)
    a.beqz(V, "narrow")
    a.slli(END, END, 2)
    a.label("narrow")
    a.add(END, END, OUT)
    a.arguments(inputs=T)
    a.or_(M, T, W)
    a.extui(M, M, 0, 2)
    a.bnez(M, "any alignment")
    a.srli(BLOCKS, T, 5)
    a.extui(WORDS, T, 2, 3)
    a.bnez(V, "wide")
    outputs(a, "narrow output", aligned_dot, wide=False)
    a.label("wide")
    outputs(a, "wide output", aligned_dot, wide=True)
    a.label("any alignment")
    a.addi(WORDS, T, 3)
    a.srli(WORDS, WORDS, 2)
    a.bnez(V, "wide, any alignment")
    outputs(a, "narrow, any", any_dot, wide=False)
    a.label("wide, any alignment")
    outputs(a, "wide, any", any_dot, wide=True)
    a.label("next row")
    a.arguments(rows=T, x=X, inputs=V)
    a.add(X, X, V)
    a.keep(X, "x")
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row")


def widen(a: XtensaFunction) -> None:
    """x as int16 at `row`, filled up with zeros to a multiple of four; sets START.

    The first word stands again at the end, so that every product leaves it in m0 for the next one.
    """
    to, b = W, M
    a.arguments(x=X, row=X_START, inputs=T)
    a.mov(to, X_START)
    a.movi(START, 0)

    def value(i: int, place: int) -> None:
        a.l8ui(b, X, i)
        a.sext(b, b, 7)
        a.s16i(b, to, place)
        a.add(START, START, b)

    a.srli(V, T, 2)
    a.loopnez(V, "widened")
    for i, place in enumerate((0, 4, 2, 6)):  # x0 and x2 share a word, x1 and x3 the next one
        value(i, place)
    a.addi(X, X, 4)
    a.addi(to, to, 8)
    a.label("widened")
    a.extui(T, T, 0, 2)
    a.beqz(T, "filled")
    a.movi(b, 0)
    a.s32i(b, to, 0)
    a.s32i(b, to, 4)
    for i, place in enumerate((0, 4, 2)):
        value(i, place)
        a.addi(T, T, -1)
        a.beqz(T, "filled last")
    a.label("filled last")
    a.addi(to, to, 8)
    a.label("filled")
    a.l32i(b, X_START)
    a.s32i(b, to)
    a.slli(START, START, 7)
    a.neg(START, START)
    a.addi(X, X_START, -4)
    a.ldinc(0, X)  # which adds 4 before it loads


def outputs(
    a: XtensaFunction, name: str, dot: Callable[[XtensaFunction, str], None], wide: bool
) -> None:
    """One row's products: to OUT up to END."""
    a.label(name)
    a.mov(X, X_START)
    a.wsr(START, ACCLO)
    dot(a, name)
    a.l32i(T, CONSTANTS, 0)
    a.rsr(V, ACCLO)
    if wide:
        a.addi(CONSTANTS, CONSTANTS, 12)
        a.add(V, V, T)
        a.s32i(V, OUT)
        a.addi(OUT, OUT, 4)
    else:
        a.l32i(M, CONSTANTS, 4)
        a.add(V, V, T)
        scale(a, V, M, T)
        a.l32i(T, CONSTANTS, 8)
        a.addi(CONSTANTS, CONSTANTS, 12)
        round_shift(a, V, T, LOW)
        a.s8i(V, OUT)
        a.addi(OUT, OUT, 1)
    a.branch("eq", OUT, END, name + " done")
    a.j(name)
    a.label(name + " done")
    a.j("next row")


def aligned_dot(a: XtensaFunction, name: str) -> None:
    """ACC += a row of weights times x; moves W to the next row."""
    a.loopnez(BLOCKS, name + " block")
    a.l32i(V, W, 0)
    for i in range(BLOCK):
        v, t = (V, T) if i % 2 == 0 else (T, V)
        multiply(a, v, t, 4 * i + 4 if i + 1 < BLOCK else None)
    a.addi(W, W, 4 * BLOCK)
    a.label(name + " block")
    a.loopnez(WORDS, name + " word")
    a.l32i(V, W)
    a.addi(W, W, 4)
    multiply(a, V, T)
    a.label(name + " word")


def any_dot(a: XtensaFunction, name: str) -> None:
    """The same for a row at any address: src joins the parts of two aligned words."""
    before = BLOCKS  # which is not used here
    a.keep(W, "acc")  # nor is this argument
    a.ssa8l(W)
    a.extui(V, W, 0, 2)
    a.sub(W, W, V)
    a.l32i(before, W)
    a.loopnez(WORDS, name + " word")
    a.l32i(V, W, 4)
    a.addi(W, W, 4)
    a.src(T, V, before)
    a.mov(before, V)
    multiply(a, T, V)
    a.label(name + " word")
    a.arguments(acc=W, inputs=T)
    a.add(W, W, T)


def multiply(a: XtensaFunction, v: int, t: int, after: int | None = None) -> None:
    """ACC += the four weights in v times x in m0 and at X; then t = the word at W + after."""
    a.and_(t, v, MASK)
    a.srli(v, v, 8)
    a.and_(v, v, MASK)
    a.mula_da_ldinc(LL, 1, X, 0, t)
    a.mula_da(HH, 0, t)
    if after is not None:  # early: the pipeline is long
        a.l32i(t, W, after)
    a.mula_da_ldinc(LL, 0, X, 1, v)
    a.mula_da(HH, 1, v)
