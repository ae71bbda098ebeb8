"""int8 matrix product on LX6 and LX7: attn8/forms/viper/matmul.py says what it computes.

Six instructions for four products: a word of weights needs one mask. Along a row, weights of even
place are packed as u = w + 128, those of odd place as they are. So a halfword of weights is
u0 + 256*w1, an int16, and w & 0x00FF00FF holds u0 alone. With X0 = 256*x0 - x1 + 127, which covers
int16 exactly,

    (u0 + 256*w1)*x1 + u0*X0 = 256*(u0*x0 + w1*x1) + 127*u0,

and ACCLO starts at what takes the offsets off again. 256 times the sum of up to 511 products fits
into 32 bits. Rows of weights that start at multiples of four are read in words, others through a
funnel shift.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCLO, HH, LL
from .common_xtensa import round_shift, scale

# Register map
W, X, X_START, OUT, CONSTANTS, BLOCKS, WORDS, MASK, END, START, LOW = range(2, 13)
V, T, M = 13, 14, 15
# START is -32768 * the sum of x of even place; LOW is -127.

BLOCK = 8  # words in the unrolled loop


def pack(a: XtensaFunction) -> None:
    """Packs w, int8 [outputs, inputs], and completes constants, int32 [outputs, 4]: the last one of
    four becomes -127 * the sum of u of even place.
    """
    w, constants, inputs, outputs, flip, odd, even, u, t, zero = range(2, 12)
    a.arguments(w=w, constants=constants, inputs=inputs, outputs=outputs)
    a.movi(flip, 128)
    a.movi(zero, 0)
    a.label("row")
    a.mov(odd, zero)  # 0 or 128
    a.mov(even, zero)
    a.loopnez(inputs, "weight")
    a.l8ui(u, w)
    a.xor(u, u, flip)
    a.mov(t, u)
    a.movnez(t, zero, odd)
    a.add(even, even, t)
    a.xor(u, u, odd)
    a.s8i(u, w)
    a.xor(odd, odd, flip)
    a.addi(w, w, 1)
    a.label("weight")
    a.slli(t, even, 7)
    a.sub(t, even, t)
    a.s32i(t, constants, 12)
    a.addi(constants, constants, 16)
    a.addi(outputs, outputs, -1)
    a.bnez(outputs, "row")


def matmul(a: XtensaFunction) -> None:
    """bias: the constants that `pack` completed; mult and shift are not used."""
    a.arguments(out=OUT)
    a.movi(LOW, -127)
    a.movi(MASK, 255)
    a.slli(T, MASK, 16)
    a.or_(MASK, MASK, T)
    a.label("row")
    widen(a)
    begin_row(a)
    a.arguments(inputs=T)
    a.or_(M, T, W)
    a.extui(M, M, 0, 2)
    a.bnez(M, "any alignment")
    a.srli(BLOCKS, T, 5)
    a.extui(WORDS, T, 2, 3)
    a.bnez(V, "wide")
    outputs(a, "narrow output", aligned_dot, read_acc, wide=False)
    a.label("wide")
    outputs(a, "wide output", aligned_dot, read_acc, wide=True)
    a.label("any alignment")
    a.addi(WORDS, T, 3)
    a.srli(WORDS, WORDS, 2)
    a.bnez(V, "wide, any alignment")
    outputs(a, "narrow, any", any_dot, read_acc, wide=False)
    a.label("wide, any alignment")
    outputs(a, "wide, any", any_dot, read_acc, wide=True)
    end_row(a)


def begin_row(a: XtensaFunction) -> None:
    """W and CONSTANTS at the first output's, END behind the last output of the row, V = wide."""
    a.arguments(w=W, bias=CONSTANTS, outputs=END, wide=V)
    a.beqz(V, "narrow")
    a.slli(END, END, 2)
    a.label("narrow")
    a.add(END, END, OUT)


def end_row(a: XtensaFunction) -> None:
    """Back to the label "row" with the next row of x."""
    a.label("next row")
    a.arguments(rows=T, x=X, inputs=V)
    a.add(X, X, V)
    a.keep(X, "x")
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row")


def widen(a: XtensaFunction) -> None:
    """x1 and x3 in one word, X0 and X2 in the next, for each four of x, at `row`; sets START.

    The last four are filled up with zeros, and the first word stands again at the end, so that
    every product leaves it in m0 for the next one.
    """
    to, even, odd = W, M, V
    a.arguments(x=X, row=X_START, inputs=T)
    a.mov(to, X_START)
    a.movi(START, 0)

    def load(b: int, place: int) -> None:
        a.l8ui(b, X, place)
        a.sext(b, b, 7)

    def store(pair: int) -> None:
        a.add(START, START, even)
        a.s16i(odd, to, 2 * pair)
        a.slli(even, even, 8)
        a.sub(even, even, odd)
        a.addi(even, even, 127)
        a.s16i(even, to, 4 + 2 * pair)

    a.srli(V, T, 2)
    a.loopnez(V, "widened")
    for pair in range(2):
        load(even, 2 * pair)
        load(odd, 2 * pair + 1)
        store(pair)
    a.addi(X, X, 4)
    a.addi(to, to, 8)
    a.label("widened")
    a.extui(T, T, 0, 2)
    a.beqz(T, "filled")
    a.movi(odd, 0)
    a.s32i(odd, to, 0)
    a.s32i(odd, to, 4)
    for pair in range(2):
        load(even, 2 * pair)
        a.movi(odd, 0)
        a.addi(T, T, -1)
        a.beqz(T, f"no partner of {2 * pair}")
        load(odd, 2 * pair + 1)
        a.addi(T, T, -1)
        a.label(f"no partner of {2 * pair}")
        store(pair)
        a.beqz(T, "last four")
    a.label("last four")
    a.addi(to, to, 8)
    a.label("filled")
    a.l32i(even, X_START)
    a.s32i(even, to)
    a.slli(START, START, 15)
    a.neg(START, START)
    a.addi(X, X_START, -4)
    a.ldinc(0, X)  # which adds 4 before it loads


def outputs(
    a: XtensaFunction,
    name: str,
    dot: Callable[[XtensaFunction, str], None],
    read: Callable[[XtensaFunction], None],
    wide: bool,
) -> None:
    """One row's products, which `dot` accumulates and `read` puts into V: to OUT up to END."""
    a.label(name)
    dot(a, name)
    a.l32i(T, CONSTANTS, 0)
    if wide:
        a.addi(CONSTANTS, CONSTANTS, 16)
        read(a)
        a.add(V, V, T)
        a.s32i(V, OUT)
        a.addi(OUT, OUT, 4)
    else:
        a.l32i(M, CONSTANTS, 4)
        read(a)
        a.add(V, V, T)
        scale(a, V, M, T)
        a.l32i(T, CONSTANTS, 8)
        a.addi(CONSTANTS, CONSTANTS, 16)
        round_shift(a, V, T, LOW)
        a.s8i(V, OUT)
        a.addi(OUT, OUT, 1)
    a.branch("eq", OUT, END, name + " done")
    a.j(name)
    a.label(name + " done")
    a.j("next row")


def read_acc(a: XtensaFunction) -> None:
    """V = the sum of products in ACC."""
    a.rsr(V, ACCLO)
    a.srai(V, V, 8)


def start_acc(a: XtensaFunction) -> None:
    """ACC = what takes the offsets off; X at the row's start."""
    a.l32i(T, CONSTANTS, 12)
    a.mov(X, X_START)
    a.add(T, T, START)
    a.wsr(T, ACCLO)


def aligned_dot(a: XtensaFunction, name: str) -> None:
    """ACC = 256 * a row of weights times x; moves W to the next row."""
    start_acc(a)
    a.loopnez(BLOCKS, name + " block")
    a.l32i(V, W, 0)
    for i in range(BLOCK):
        multiply(a, V, T, 4 * i + 4 if i + 1 < BLOCK else None)
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
    start_acc(a)
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
    """ACC += the four weights in v times x in m0 and at X; then v = the word at W + after."""
    a.and_(t, v, MASK)
    a.mula_da_ldinc(LL, 1, X, 0, v)
    a.mula_da(HH, 0, v)
    if after is not None:  # early: the pipeline is long
        a.l32i(v, W, after)
    a.mula_da_ldinc(LL, 0, X, 1, t)
    a.mula_da(HH, 1, t)
