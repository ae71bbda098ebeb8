"""int16 by int8 matrix product on LX6 and LX7: attn8/forms/viper/matmul16.py says what it computes.

Eight instructions for four products, with weights as they are in the file: w & 0xFF00FF00 holds 256
times the weights of odd place as halves of 16 bits, (w << 8) & 0xFF00FF00 those of even place. The
40 bits of ACC hold 256 times any sum: those of products are below 2**29, and so is the bias.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCHI, ACCLO, HH, LL
from . import pairs_xtensa
from .common_xtensa import half_of

# Register map
W, X, X_START, OUT, BIAS, MULT, SHIFT, LEFT, COUNT, MASK, FORMAT, V, T, M = range(2, 16)

BLOCK = 8  # words in the unrolled loop
# Words beyond blocks; where the next row of weights begins
SPARE = {"matmul": ("rest", "next", *pairs_xtensa.SPARE)}


def matmul(a: XtensaFunction) -> None:
    a.arguments(out=OUT, most=FORMAT, acc=M)
    a.movi(T, 255)
    a.slli(MASK, T, 24)
    a.slli(T, T, 8)
    a.or_(MASK, MASK, T)
    a.movi(T, 127)
    a.branch("lt", T, FORMAT, "to int16")
    a.neg(FORMAT, FORMAT)  # of int32 it stays 0
    a.add(OUT, OUT, M)
    a.bnez(FORMAT, "row")
    a.add(OUT, OUT, M)
    a.addx2(OUT, M, OUT)
    a.j("row")
    a.label("to int16")
    a.addx2(OUT, M, OUT)
    a.label("row")
    a.arguments(paired=T)
    a.bnez(T, "pairs")
    a.label("single row")
    a.arguments(acc=T)
    a.bnez(T, "ordered before")
    order(a)
    a.label("ordered before")
    a.arguments(w=W, bias=BIAS, mult=MULT, shift=SHIFT, outputs=LEFT, inputs=COUNT, acc=M,
                row=X_START)
    a.addi(X, X_START, -4)
    a.ldinc(0, X)  # which adds 4 before it loads
    a.addx2(MULT, M, MULT)
    a.add(SHIFT, SHIFT, M)
    a.or_(V, W, COUNT)
    a.extui(T, COUNT, 2, 3)
    a.keep(T, "rest")
    a.srli(COUNT, COUNT, 5)
    a.extui(V, V, 0, 2)
    a.bnez(V, "any alignment")
    a.label("output")
    start(a)
    aligned_dot(a)
    finish(a, "aligned", "output")
    a.j("next row")
    a.label("any alignment")
    start(a)
    any_dot(a)
    finish(a, "any", "any alignment")
    a.label("next row")
    a.arguments(rows=T, x=X, inputs=V)
    a.slli(V, V, 1)
    a.add(X, X, V)
    a.keep(X, "x")
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "single row")
    a.j("all rows")
    a.label("pairs")
    pairs_xtensa.rows_of_pairs(a)
    a.label("all rows")


def order(a: XtensaFunction) -> None:
    """x1 and x3 in one word, x0 and x2 in the next, for each four of x', at `row`.

    The last four are filled up with zeros, and the first word stands again at the end, so that
    every product leaves it in m0 for the next one.
    """
    to, half = W, M
    a.arguments(x=X, row=X_START)
    a.mov(to, X_START)

    def value(place: int) -> None:
        a.l16si(V, X, 2 * place)
        a.add(V, V, half)
        a.sra(V, V)
        a.s16i(V, to, (4, 0, 6, 2)[place])

    a.arguments(inputs=M, down=T)
    a.extui(V, M, 0, 2)
    a.or_(V, V, T)
    a.bnez(V, "rounded")
    a.srli(M, M, 2)
    a.loopnez(M, "as it is")  # nothing goes down, and fours are whole
    for pair in (0, 1), (2, 3):
        for place, register in zip(pair, (V, T), strict=True):
            a.l16ui(register, X, 2 * place)
        for place, register in zip(pair, (V, T), strict=True):
            a.s16i(register, to, (4, 0, 6, 2)[place])
    a.addi(X, X, 8)
    a.addi(to, to, 8)
    a.label("as it is")
    a.j("filled")
    a.label("rounded")
    half_of(a, half, T)
    a.ssr(T)
    a.arguments(inputs=T)
    a.srli(V, T, 2)
    a.loopnez(V, "ordered")
    for place in range(4):
        value(place)
    a.addi(X, X, 8)
    a.addi(to, to, 8)
    a.label("ordered")
    a.extui(T, T, 0, 2)
    a.beqz(T, "filled")
    a.movi(V, 0)
    a.s32i(V, to, 0)
    a.s32i(V, to, 4)
    for place in range(3):
        value(place)
        a.addi(T, T, -1)
        a.beqz(T, "last four")
    a.label("last four")
    a.addi(to, to, 8)
    a.label("filled")
    a.l32i(V, X_START)
    a.s32i(V, to)


def start(a: XtensaFunction) -> None:
    """ACC = 0; X at the row's start."""
    a.mov(X, X_START)
    a.movi(T, 0)
    a.wsr(T, ACCLO)
    a.wsr(T, ACCHI)


def aligned_dot(a: XtensaFunction) -> None:
    """ACC += 256 * a row of weights times x; moves W to the next row."""
    a.loopnez(COUNT, "block")
    a.l32i(V, W, 0)
    for i in range(BLOCK):
        now, then = (V, M) if i % 2 == 0 else (M, V)
        multiply(a, now, T, then if i + 1 < BLOCK else None, 4 * i + 4)
    a.addi(W, W, 4 * BLOCK)
    a.label("block")
    a.arguments(rest=T)
    a.loopnez(T, "word")
    a.l32i(V, W)
    a.addi(W, W, 4)
    multiply(a, V, T)
    a.label("word")


def any_dot(a: XtensaFunction) -> None:
    """The same for a row at any address: src joins the parts of two aligned words."""
    before = COUNT
    a.arguments(inputs=T)
    a.add(M, W, T)
    a.keep(M, "next")
    a.addi(T, T, 3)
    a.srli(T, T, 2)
    a.ssa8l(W)
    a.extui(V, W, 0, 2)
    a.sub(W, W, V)
    a.l32i(before, W)
    a.loopnez(T, "any word")
    a.l32i(V, W, 4)
    a.addi(W, W, 4)
    a.src(M, V, before)
    a.mov(before, V)
    multiply(a, M, T)
    a.label("any word")
    a.arguments(next=W)


def multiply(
    a: XtensaFunction, v: int, t: int, following: int | None = None, after: int = 0
) -> None:
    """ACC += 256 * the four weights in v times x in m0 and at X; following = the word at W + after.
    """
    a.and_(t, v, MASK)
    a.slli(v, v, 8)
    if following is not None:  # early: the pipeline is long
        a.l32i(following, W, after)
    a.mula_da_ldinc(LL, 1, X, 0, t)
    a.mula_da(HH, 0, t)
    a.and_(v, v, MASK)
    a.mula_da_ldinc(LL, 0, X, 1, v)
    a.mula_da(HH, 1, v)


def finish(a: XtensaFunction, name: str, again: str) -> None:
    """The sum in ACC and the bias to OUT, in the format that FORMAT says; then to the label
    `again`, as long as there are outputs LEFT.

    acc * (mult << 17) has acc * mult >> 15 in its high word; as mult << 17 is taken as 2**32 less
    than it is, so is that as acc.
    """
    a.rsr(T, ACCHI)
    a.rsr(V, ACCLO)
    a.ssai(8)
    a.src(V, T, V)
    a.beqz(BIAS, name + ", no bias")
    a.l32i(T, BIAS)
    a.addi(BIAS, BIAS, 4)
    a.add(V, V, T)
    a.label(name + ", no bias")
    a.l16ui(M, MULT)
    a.addi(LEFT, LEFT, -1)
    a.beqz(FORMAT, name + ", int32")
    a.slli(M, M, 17)
    a.l8ui(T, SHIFT)
    a.mulsh(M, V, M)
    a.addi(MULT, MULT, 2)
    a.addi(T, T, -16)
    a.add(V, V, M)
    a.ssr(T)
    a.sra(V, V)
    a.addi(SHIFT, SHIFT, 1)
    a.addi(V, V, 1)
    a.srai(V, V, 1)
    a.bltz(FORMAT, name + ", int8")
    a.min(V, V, FORMAT)
    a.neg(T, FORMAT)
    a.max(V, V, T)
    a.s16i(V, OUT)
    a.addi(OUT, OUT, 2)
    a.bnez(LEFT, again)
    a.j(name + ", done")
    a.label(name + ", int8")
    a.max(V, V, FORMAT)
    a.neg(T, FORMAT)
    a.min(V, V, T)
    a.s8i(V, OUT)
    a.addi(OUT, OUT, 1)
    a.bnez(LEFT, again)
    a.j(name + ", done")
    a.label(name + ", int32")
    a.s32i(V, OUT)
    a.addi(OUT, OUT, 4)
    a.bnez(LEFT, again)
    a.label(name + ", done")
