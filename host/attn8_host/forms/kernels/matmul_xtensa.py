"""int8 matrix product on LX6 and LX7: attn8/forms/viper/matmul.py says what it computes.

Along a row, weights of even place are packed as u = w + 128, those of odd place as they are. Both
ways to multiply find sum_k x[k]*w[k] - 127 * the sum of w of odd place; the bias gives the latter
back.

Few rows, or long ones, are multiplied by weights as they lie, six instructions for four products: a
halfword of weights is u0 + 256*w1, an int16, and w & 0x00FF00FF holds u0 alone. With x1 - 127 and
X0 = 256*x0 - (x1 - 127), which covers int16 exactly,

    (u0 + 256*w1)*(x1 - 127) + u0*X0 = 256*(u0*x0 + w1*(x1 - 127)),

and ACC starts at what takes 128*x0 off again. Rows of weights that start at multiples of four are
read in words, others through a funnel shift.

Where a tile of rows fits into the room, it is widened there to int16, and each row of weights in
its turn, times 256. Then an instruction is a product and brings what another one needs. 256 times
the sum fits into 32 bits. The first words of the row of weights stand again at its end, so that
every product leaves them where the next one wants them. Where the bias leaves room too, ACC starts
at it, and one multiplication and a shift of a bit are all of requant that is left.
"""

from collections.abc import Callable

from ..mpy import XtensaFunction
from ..xtensa import ACCHI, ACCLO, HH, LL, M0
from .common_xtensa import product16, round_bit

# As attn8/forms/xtensa/matmul.py has them: the most rows of a tile and groups of four values in
# one; the fewest rows that are worth a tile, and the most inputs of which as many fit
ROWS, GROUPS_OF_TILE, FEWEST, LONGEST = 18, 288, 4, 288

SPARE = {"matmul": ("tile", "place", "next", "mask", "flip", "mults", "shifts")}


def pack(a: XtensaFunction) -> None:
    """Packs w, int8 [outputs, inputs]; bias += 127 * the sum of w of odd place."""
    w, bias, inputs, outputs, flip, odd, total, u, t, zero = range(2, 12)
    a.arguments(w=w, bias=bias, inputs=inputs, outputs=outputs)
    a.movi(flip, 128)
    a.movi(zero, 0)
    a.label("row")
    a.mov(odd, zero)  # 0 or 128
    a.mov(total, zero)
    a.loopnez(inputs, "weight")
    a.l8ui(u, w)
    a.sext(t, u, 7)
    a.xor(u, u, flip)
    a.xor(u, u, odd)
    a.s8i(u, w)
    a.moveqz(t, zero, odd)
    a.add(total, total, t)
    a.xor(odd, odd, flip)
    a.addi(w, w, 1)
    a.label("weight")
    a.l32i(u, bias)
    a.slli(t, total, 7)
    a.sub(t, t, total)
    a.add(u, u, t)
    a.s32i(u, bias)
    a.addi(bias, bias, 4)
    a.addi(outputs, outputs, -1)
    a.bnez(outputs, "row")


def matmul(a: XtensaFunction) -> None:
    rows, inputs, t = range(2, 5)
    a.arguments(rows=rows, inputs=inputs)
    a.movi(t, FEWEST)
    a.branch("lt", rows, t, "rows alone")
    a.movi(t, LONGEST)
    a.branch("ge", t, inputs, "tiles")
    a.label("rows alone")
    a.j("row by row")
    a.label("tiles")
    tiles(a)
    a.j("done")
    a.label("row by row")
    row_by_row(a)
    a.label("done")


# Register map of tiles
W, TO, X, OUT, Y_START, GROUPS, END, STRIDE, LOW, B, M, Y, V, T = range(2, 16)
FLIP, MASK = B, M  # while weights are widened


def tiles(a: XtensaFunction) -> None:
    """A tile of rows after others, in which an output after others. Y_START is the second word of
    the room.
    """
    a.movi(V, 128)
    a.slli(T, V, 16)
    a.or_(V, V, T)
    a.keep(V, "flip")
    a.movi(V, 255)
    a.slli(M, V, 16)
    a.or_(M, M, V)
    a.slli(M, M, 8)
    a.keep(M, "mask")
    a.movi(LOW, -127)
    a.arguments(inputs=GROUPS, row=Y_START, outputs=STRIDE, wide=V)
    a.addi(GROUPS, GROUPS, 3)
    a.srli(GROUPS, GROUPS, 2)
    a.addi(Y_START, Y_START, 4)
    a.movi(M, GROUPS_OF_TILE)
    a.quou(M, M, GROUPS)
    a.movi(T, ROWS)
    a.min(M, M, T)
    a.keep(M, "tile")
    a.beqz(V, "stride")
    a.slli(STRIDE, STRIDE, 1)
    a.addi(V, V, -2)
    a.beqz(V, "stride")
    a.slli(STRIDE, STRIDE, 1)
    a.label("stride")
    a.label("tile")
    a.arguments(tile=END, rows=V)
    a.min(END, END, V)
    a.sub(V, V, END)
    a.keep(V, "rows")
    a.arguments(out=T)
    a.mull(V, END, STRIDE)
    a.add(V, T, V)
    a.keep(V, "next")
    widen_rows(a)
    a.movi(V, 0)
    a.arguments(w=W)
    a.keep(V, "acc")  # an argument that is not used: the number of the output
    a.label("output")
    widen_weights(a)
    a.arguments(place=X, bias=B, acc=V, wide=T)
    a.arguments(out=OUT)
    a.ldinc(0, X)
    a.addx4(B, V, B)
    a.l32i(B, B)
    a.bnez(T, "wide results")
    requantized(a, 1)
    a.label("wide results")
    a.addi(T, T, -2)
    a.bnez(T, "sums")
    requantized(a, 2)
    a.label("sums")
    sums(a)
    a.label("next output")
    a.arguments(acc=V, outputs=T)
    a.addi(V, V, 1)
    a.keep(V, "acc")
    a.branch("eq", V, T, "tile is done")
    a.j("output")
    a.label("tile is done")
    a.arguments(rows=T, next=V)
    a.keep(V, "out")
    a.bnez(T, "tile")


def widen_rows(a: XtensaFunction) -> None:
    """END rows of x to the tile: (x1 - 127, x3 - 127) in a word, (x0, x2) in the next, for each
    four. END becomes the address behind the tile.
    """
    whole, rest, u, v, zero = W, OUT, Y, V, B
    a.arguments(x=X, inputs=rest)
    a.slli(TO, GROUPS, 3)
    a.add(TO, TO, Y_START)
    a.keep(TO, "place")  # a word before the tile
    a.addi(TO, TO, 4)
    a.srli(whole, rest, 2)
    a.extui(rest, rest, 0, 2)
    a.movi(zero, 0)
    a.label("widen row")
    a.loopnez(whole, "whole groups")
    for i in (0, 2):
        a.l8ui(u, X, i)
        a.l8ui(v, X, i + 1)
        a.sext(u, u, 7)
        a.sext(v, v, 7)
        a.s16i(u, TO, 4 + i)
        a.add(v, v, LOW)
        a.s16i(v, TO, i)
    a.addi(X, X, 4)
    a.addi(TO, TO, 8)
    a.label("whole groups")
    a.beqz(rest, "row is whole")
    a.s32i(zero, TO, 0)  # whatever is finite: the weights here are 0
    a.s32i(zero, TO, 4)
    a.addi(M, rest, -1)
    for i in range(3):
        a.l8ui(u, X)
        a.sext(u, u, 7)
        a.addi(X, X, 1)
        if i % 2:
            a.add(u, u, LOW)
        a.s16i(u, TO, i - 1 if i % 2 else 4 + i)
        if i < 2:
            a.beqz(M, "rest is widened")
            a.addi(M, M, -1)
    a.label("rest is widened")
    a.addi(TO, TO, 8)
    a.label("row is whole")
    a.addi(END, END, -1)
    a.bnez(END, "widen row")
    a.mov(END, TO)
    a.keep(X, "x")


def widen_weights(a: XtensaFunction) -> None:
    """The row at W to the room: 256*(w1, w3) in a word, 256*(w0, w2) in the next, for each four,
    the first ones again at the end, and in m2 and m3. W moves behind the row, which stays there.
    """
    u, before = Y, X
    a.arguments(inputs=T, flip=FLIP, mask=MASK)
    a.addi(TO, Y_START, -4)

    def store(v: int, place: int) -> None:
        a.and_(u, v, MASK)
        a.slli(v, v, 8)
        a.and_(v, v, MASK)
        a.s32i(u, TO, place)
        a.s32i(v, TO, place + 4)

    a.or_(V, T, W)
    a.extui(V, V, 0, 2)
    a.bnez(V, "weights anywhere")
    a.srli(V, T, 3)
    a.loopnez(V, "eight weights")
    a.l32i(V, W, 0)
    a.l32i(T, W, 4)
    a.addi(W, W, 8)
    a.xor(V, V, FLIP)
    a.xor(T, T, FLIP)
    store(V, 0)
    store(T, 8)
    a.addi(TO, TO, 16)
    a.label("eight weights")
    a.extui(V, GROUPS, 0, 1)
    a.beqz(V, "weights are widened")
    a.l32i(V, W)
    a.addi(W, W, 4)
    a.xor(V, V, FLIP)
    store(V, 0)
    a.addi(TO, TO, 8)
    a.j("weights are widened")
    a.label("weights anywhere")
    a.add(OUT, W, T)  # the next row
    a.ssa8l(W)
    a.extui(V, W, 0, 2)
    a.sub(W, W, V)
    a.l32i(before, W)
    a.srli(T, T, 2)
    a.loopnez(T, "four weights")
    a.l32i(V, W, 4)
    a.addi(W, W, 4)
    a.src(T, V, before)
    a.mov(before, V)
    a.xor(T, T, FLIP)
    store(T, 0)
    a.addi(TO, TO, 8)
    a.label("four weights")
    a.mov(W, OUT)
    a.arguments(inputs=T)
    a.extui(T, T, 0, 2)
    a.beqz(T, "weights are widened")
    a.sub(V, W, T)  # the last one to three of them, byte by byte: what follows is not the row's
    a.movi(u, 0)
    a.s32i(u, TO, 0)
    a.s32i(u, TO, 4)
    for i in range(3):
        a.l8ui(u, V)
        a.addi(V, V, 1)
        if i % 2 == 0:
            a.xor(u, u, FLIP)
        a.s8i(u, TO, i if i % 2 else 5 + i)
        if i < 2:
            a.addi(T, T, -1)
            a.beqz(T, "last weights")
    a.label("last weights")
    a.addi(TO, TO, 8)
    a.label("weights are widened")
    a.addi(Y, Y_START, -8)
    a.ldinc(2, Y)
    a.ldinc(3, Y)
    a.rsr(V, M0 + 2)
    a.rsr(T, M0 + 3)
    a.s32i(V, TO, 0)
    a.s32i(T, TO, 4)


def products(a: XtensaFunction, name: str, start: int, finish: Callable[[], None]) -> None:
    """A row of weights times each of the tile: `finish` makes a result of V, which is ACCLO, where
    the register `start` was before.
    """
    a.label(name)
    a.wsr(start, ACCLO)
    a.mov(Y, Y_START)
    product16(a, X, Y, GROUPS, name + " dot")
    a.rsr(V, ACCLO)
    finish()
    a.add(OUT, OUT, STRIDE)
    a.branch("ne", X, END, name)
    a.j("next output")


def sums(a: XtensaFunction) -> None:
    """int32 [rows, outputs]"""
    a.addx4(OUT, V, OUT)
    a.movi(T, 0)

    def finish() -> None:
        a.srai(V, V, 8)
        a.add(V, V, B)
        a.s32i(V, OUT)

    products(a, "sum", T, finish)


def requantized(a: XtensaFunction, size: int) -> None:
    """int8 or int16 [rows, outputs], `size` bytes each. V, 256 * a sum, times mult << (25 - shift)
    has in its high word twice the result, rounded down. Where bias or shift are larger, mult << 16
    leaves 15 bits less.
    """
    name, low = (f"int{8 * size}", LOW if size == 1 else TO)
    a.arguments(mult=M, shift=T)
    if size == 1:
        a.add(OUT, OUT, V)
    else:
        a.addx2(OUT, V, OUT)
        a.movi(low, -1)
        a.slli(low, low, 15)
        a.addi(low, low, 1)
    a.addx2(M, V, M)
    a.add(T, T, V)
    a.l16ui(M, M)
    a.l8ui(V, T)
    a.srai(T, B, 20)
    a.addi(T, T, 1)
    a.srli(T, T, 1)
    a.bnez(T, name + ", any bias")  # it is -2**20 or less, or 2**20 or more
    a.movi(T, 25)
    a.branch("lt", T, V, name + ", any bias")
    a.sub(V, T, V)
    a.ssl(V)
    a.sll(M, M)
    a.slli(B, B, 8)

    def finish() -> None:
        a.mulsh(V, V, M)
        store()

    def store() -> None:
        round_bit(a, V, low, 8 * size - 1)
        (a.s8i if size == 1 else a.s16i)(V, OUT)

    products(a, name, B, finish)
    a.label(name + ", any bias")
    a.addi(V, V, -16)
    a.ssr(V)
    a.slli(M, M, 16)
    a.add(B, B, B)
    a.movi(T, 0)

    def finish_any() -> None:
        a.srai(V, V, 7)
        a.add(V, V, B)
        a.mulsh(V, V, M)
        a.sra(V, V)
        store()

    products(a, "any " + name, T, finish_any)


# Register map of rows by themselves; START_HIGH and START are -32768 * the sum of x of even place
R_W, R_X, X_START, R_OUT, BIASES, BLOCKS, WORDS, R_MASK, LEFT, START, START_HIGH = range(2, 13)
R_V, R_T, R_M = 13, 14, 15

BLOCK = 8  # words in the unrolled loop
SHORT = 10  # blocks of which 256 times a sum fits into 32 bits: a value gives it up to 24512


def row_by_row(a: XtensaFunction) -> None:
    """Weights as they lie."""
    a.arguments(out=R_OUT)
    a.movi(R_MASK, 255)
    a.slli(R_T, R_MASK, 16)
    a.or_(R_MASK, R_MASK, R_T)
    a.label("row")
    widen(a)
    a.arguments(w=R_W, bias=BIASES, outputs=LEFT, inputs=R_T, wide=R_V)
    a.arguments(mult=R_M)
    a.keep(R_M, "mults")
    a.arguments(shift=R_M)
    a.keep(R_M, "shifts")
    a.or_(R_M, R_T, R_W)
    a.extui(R_M, R_M, 0, 2)
    a.bnez(R_M, "any alignment")
    a.srli(BLOCKS, R_T, 5)
    a.extui(WORDS, R_T, 2, 3)
    a.bnez(R_V, "wide")
    outputs(a, "narrow output", aligned_dot, wide=False)
    a.label("wide")
    a.addi(R_M, BLOCKS, -1 - SHORT)
    a.bgez(R_M, "long")
    a.bnez(WORDS, "long")
    short_sums(a)
    a.label("long")
    outputs(a, "wide output", aligned_dot, wide=True)
    a.label("any alignment")
    a.addi(WORDS, R_T, 3)
    a.srli(WORDS, WORDS, 2)
    a.bnez(R_V, "wide, any alignment")
    outputs(a, "narrow, any", any_dot, wide=False)
    a.label("wide, any alignment")
    outputs(a, "wide, any", any_dot, wide=True)
    a.label("next row")
    a.arguments(rows=R_T, x=R_X, inputs=R_V)
    a.add(R_X, R_X, R_V)
    a.keep(R_X, "x")
    a.addi(R_T, R_T, -1)
    a.keep(R_T, "rows")
    a.bnez(R_T, "row")


def widen(a: XtensaFunction) -> None:
    """x1 - 127 and x3 - 127 in one word, X0 and X2 in the next, for each four of x, at `row`; sets
    START and START_HIGH.

    The last four are filled up with zeros, and the first word stands again at the end, so that
    every product leaves it in m0 for the next one.
    """
    to, even, odd, offset = R_W, R_M, R_V, BIASES
    a.arguments(x=R_X, row=X_START, inputs=R_T)
    a.mov(to, X_START)
    a.movi(START, 0)
    a.movi(offset, -127)

    def load(b: int, place: int) -> None:
        a.l8ui(b, R_X, place)
        a.sext(b, b, 7)

    def store(pair: int) -> None:
        a.add(START, START, even)
        a.s16i(odd, to, 2 * pair)
        a.slli(even, even, 8)
        a.sub(even, even, odd)
        a.s16i(even, to, 4 + 2 * pair)

    a.srli(odd, R_T, 2)
    a.loopnez(odd, "widened")
    for pair in range(2):
        load(even, 2 * pair)
        load(odd, 2 * pair + 1)
        a.add(odd, odd, offset)
        store(pair)
    a.addi(R_X, R_X, 4)
    a.addi(to, to, 8)
    a.label("widened")
    a.extui(R_T, R_T, 0, 2)
    a.beqz(R_T, "filled")
    a.movi(odd, 0)
    a.s32i(odd, to, 0)
    a.s32i(odd, to, 4)
    for pair in range(2):
        load(even, 2 * pair)
        a.movi(odd, 0)
        a.addi(R_T, R_T, -1)
        a.beqz(R_T, f"no partner of {2 * pair}")
        load(odd, 2 * pair + 1)
        a.add(odd, odd, offset)
        a.addi(R_T, R_T, -1)
        a.label(f"no partner of {2 * pair}")
        store(pair)
        a.beqz(R_T, "last four")
    a.label("last four")
    a.addi(to, to, 8)
    a.label("filled")
    a.l32i(even, X_START)
    a.s32i(even, to)
    a.neg(START, START)
    a.srai(START_HIGH, START, 17)
    a.slli(START, START, 15)
    a.addi(R_X, X_START, -4)
    a.ldinc(0, R_X)  # which adds 4 before it loads


def outputs(
    a: XtensaFunction, name: str, dot: Callable[[XtensaFunction, str], None], wide: bool
) -> None:
    """One row's products, which `dot` accumulates: LEFT of them to R_OUT."""
    keeps_shift = wide and dot is aligned_dot
    if keeps_shift:
        a.ssai(8)
    a.label(name)
    a.wsr(START, ACCLO)
    a.wsr(START_HIGH, ACCHI)
    a.mov(R_X, X_START)
    dot(a, name)
    if not keeps_shift:
        a.ssai(8)
    a.l32i(R_T, BIASES)
    a.rsr(R_V, ACCLO)
    a.rsr(R_M, ACCHI)
    a.addi(BIASES, BIASES, 4)
    a.src(R_V, R_M, R_V)
    a.add(R_V, R_V, R_T)
    if wide:
        a.s32i(R_V, R_OUT)
        a.addi(R_OUT, R_OUT, 4)
    else:
        a.arguments(mults=R_T)
        a.add(R_V, R_V, R_V)
        a.l16ui(R_M, R_T)
        a.addi(R_T, R_T, 2)
        a.keep(R_T, "mults")
        a.arguments(shifts=R_T)
        a.slli(R_M, R_M, 16)
        a.mulsh(R_V, R_V, R_M)
        a.l8ui(R_M, R_T)
        a.addi(R_T, R_T, 1)
        a.keep(R_T, "shifts")
        a.addi(R_M, R_M, -16)
        a.ssr(R_M)
        a.sra(R_V, R_V)
        a.movi(R_T, -127)
        round_bit(a, R_V, R_T)
        a.s8i(R_V, R_OUT)
        a.addi(R_OUT, R_OUT, 1)
    a.addi(LEFT, LEFT, -1)
    a.bnez(LEFT, name)
    a.j("next row")


def short_sums(a: XtensaFunction) -> None:
    """One row's int32 products, of up to SHORT whole blocks: the low word of ACC has a sum."""
    name, end = "short", LEFT
    a.addx4(end, LEFT, R_OUT)
    a.label(name)
    a.wsr(START, ACCLO)
    a.mov(R_X, X_START)
    blocks(a, name)
    a.l32i(R_T, BIASES)
    a.addi(BIASES, BIASES, 4)
    a.rsr(R_V, ACCLO)
    a.srai(R_V, R_V, 8)
    a.add(R_V, R_V, R_T)
    a.s32i(R_V, R_OUT)
    a.addi(R_OUT, R_OUT, 4)
    a.sub(R_V, R_OUT, end)
    a.bnez(R_V, name)
    a.j("next row")


def blocks(a: XtensaFunction, name: str) -> None:
    """ACC += 256 * a row of weights times x, as far as there are blocks of words."""
    a.loopnez(BLOCKS, name + " block")
    a.l32i(R_V, R_W, 0)
    for i in range(BLOCK):
        multiply(a, R_V, R_T, 4 * i + 4 if i + 1 < BLOCK else None)
    a.addi(R_W, R_W, 4 * BLOCK)
    a.label(name + " block")


def aligned_dot(a: XtensaFunction, name: str) -> None:
    """ACC += 256 * a row of weights times x; moves R_W to the next row."""
    blocks(a, name)
    a.loopnez(WORDS, name + " word")
    a.l32i(R_V, R_W)
    a.addi(R_W, R_W, 4)
    multiply(a, R_V, R_T)
    a.label(name + " word")


def any_dot(a: XtensaFunction, name: str) -> None:
    """The same for a row at any address: src joins the parts of two aligned words."""
    before = BLOCKS  # which is not used here
    a.keep(R_W, "acc")  # nor is this argument
    a.ssa8l(R_W)
    a.extui(R_V, R_W, 0, 2)
    a.sub(R_W, R_W, R_V)
    a.l32i(before, R_W)
    a.loopnez(WORDS, name + " word")
    a.l32i(R_V, R_W, 4)
    a.addi(R_W, R_W, 4)
    a.src(R_T, R_V, before)
    a.mov(before, R_V)
    multiply(a, R_T, R_V)
    a.label(name + " word")
    a.arguments(acc=R_W, inputs=R_T)
    a.add(R_W, R_W, R_T)


def multiply(a: XtensaFunction, v: int, t: int, after: int | None = None) -> None:
    """ACC += the four weights in v times x in m0 and at R_X; then v = the word at R_W + after."""
    a.and_(t, v, R_MASK)
    a.mula_da_ldinc(LL, 1, R_X, 0, v)
    a.mula_da(HH, 0, v)
    if after is not None:  # early: the pipeline is long
        a.l32i(v, R_W, after)
    a.mula_da_ldinc(LL, 0, R_X, 1, t)
    a.mula_da(HH, 1, t)
