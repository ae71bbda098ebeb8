"""int16 by int8 matrix product on LX6 and LX7 with weights in pairs of rows (see numerics.pairs).

A halfword h of a pair is 256 times a weight of the odd row, and that of the even row plus 128. Six
instructions for four products: two for the sum of h*x, as MAC16 loads both operands meanwhile, and
four for that of (h & 0xFF00)*x, a load and a mask for two of them. This is 256 times the odd row's
sum, and takes ACC's 40 bits; what the first has more is the even row's sum and 128 times that of x,
which fits a word, so that the low words do.
"""

from ..mpy import XtensaFunction
from ..xtensa import ACCHI, ACCLO, HH, LL
from .common_xtensa import group16, half_of

# Register map
W, X, X_START, OUT, BIAS, MULT, SHIFT, LEFT, GROUPS, MASK, FORMAT, V, T, M = range(2, 16)

BLOCK = 7  # groups of four inputs in the unrolled loop
# Groups beyond the first one; blocks of them between that and the last one, and their `rest`
SPARE = ("groups", "blocks", "sum")


def rows_of_pairs(a: XtensaFunction) -> None:
    """All rows of x; OUT, FORMAT and MASK are those of matmul16_xtensa."""
    a.arguments(inputs=GROUPS)
    a.srli(GROUPS, GROUPS, 2)
    a.addi(GROUPS, GROUPS, -1)
    a.keep(GROUPS, "groups")
    a.addi(M, GROUPS, -1)
    a.movi(T, BLOCK)
    a.quou(V, M, T)
    a.keep(V, "blocks")
    a.mull(V, V, T)
    a.sub(V, M, V)
    a.keep(V, "rest")
    a.label("row of pairs")
    a.arguments(acc=M, row=X_START)
    a.bnez(M, "copied before")
    copy(a)
    a.label("copied before")
    a.arguments(w=W, bias=BIAS, mult=MULT, shift=SHIFT, acc=M, outputs=LEFT)
    a.addx2(MULT, M, MULT)
    a.add(SHIFT, SHIFT, M)
    a.mov(X, X_START)
    a.ldinc(0, X)  # which adds 4 before it loads
    a.extui(T, W, 0, 2)
    a.bnez(T, "any pair")
    a.label("pair")
    both(a)
    odd(a)
    finish(a, "pair")
    a.j("next row of pairs")
    a.label("any pair")
    at_any_address(a)
    finish(a, "any pair")
    a.label("next row of pairs")
    a.arguments(rows=T, x=X, inputs=V)
    a.addx2(X, V, X)
    a.keep(X, "x")
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row of pairs")


def copy(a: XtensaFunction) -> None:
    """-128 * sum(x'), x', and its first word again, at `row`: each sum of products then leaves that
    word in m0 for the next one."""
    to, half = W, M
    a.arguments(x=X, inputs=LEFT, down=T)
    a.addi(to, X_START, 4)
    a.srli(LEFT, LEFT, 2)
    a.extui(V, X, 0, 2)
    a.or_(V, V, T)
    a.bnez(V, "to be rounded")
    a.loopnez(LEFT, "copied")
    a.l32i(V, X, 0)
    a.l32i(T, X, 4)
    a.s32i(V, to, 0)
    a.s32i(T, to, 4)
    a.addi(X, X, 8)
    a.addi(to, to, 8)
    a.label("copied")
    a.j("all there")
    a.label("to be rounded")
    half_of(a, half, T)
    a.ssr(T)
    a.loopnez(LEFT, "all rounded")
    for place in range(4):
        a.l16si(V, X, 2 * place)
        a.add(V, V, half)
        a.sra(V, V)
        a.s16i(V, to, 2 * place)
    a.addi(X, X, 8)
    a.addi(to, to, 8)
    a.label("all rounded")
    a.label("all there")
    a.l32i(V, X_START, 4)
    a.s32i(V, to)
    a.movi(T, 0)
    a.wsr(T, ACCLO)
    a.movi(T, 128)
    a.slli(V, T, 16)
    a.or_(V, V, T)
    a.mov(X, X_START)
    a.ldinc(0, X)
    a.loopnez(LEFT, "summed")
    a.mula_da_ldinc(LL, 1, X, 0, V)
    a.mula_da(HH, 0, V)
    a.mula_da_ldinc(LL, 0, X, 1, V)
    a.mula_da(HH, 1, V)
    a.label("summed")
    a.rsr(T, ACCLO)
    a.neg(T, T)
    a.s32i(T, X_START)


def both(a: XtensaFunction) -> None:
    """M = the low word of 256 times the odd row's sum, and that of the even row."""
    a.l32i(T, X_START)
    a.addi(M, W, -4)
    a.ldinc(2, M)
    a.ldinc(3, M)
    a.wsr(T, ACCLO)
    a.addi(X, X_START, 4)
    a.loopnez(GROUPS, "both")
    group16(a, X, M)
    a.label("both")
    a.mula_dd_ldinc(LL, 1, X, 0, 2)  # nothing behind the weights is read
    a.mula_dd(HH, 0, 2)
    a.mula_dd_ldinc(LL, 0, X, 1, 3)
    a.mula_dd(HH, 1, 3)
    a.rsr(M, ACCLO)


def odd(a: XtensaFunction) -> None:
    """ACC = 256 times the odd row's sum; moves W to the next pair. Words are loaded a group ahead,
    as the pipeline is long."""

    def word(register: int, m: int, following: int | None) -> None:
        a.and_(register, register, MASK)
        a.mula_da_ldinc(LL, 1 - m, X, m, register)
        a.mula_da(HH, m, register)
        if following is not None:
            a.l32i(register, W, following)

    def group(following: int | None) -> None:
        word(V, 0, following)
        word(T, 1, None if following is None else following + 4)

    a.l32i(V, W, 0)
    a.l32i(T, W, 4)
    a.addi(X, X_START, 4)
    a.and_(V, V, MASK)
    a.mul_da(LL, 0, V)
    a.mula_da_ldinc(HH, 1, X, 0, V)
    a.l32i(V, W, 8)
    word(T, 1, 12)
    a.arguments(blocks=GROUPS)
    a.loopnez(GROUPS, "block of odd")
    for i in range(BLOCK):
        group(16 + 8 * i)
    a.addi(W, W, 8 * BLOCK)
    a.label("block of odd")
    a.arguments(rest=GROUPS)
    a.loopnez(GROUPS, "rest of odd")
    group(16)
    a.addi(W, W, 8)
    a.label("rest of odd")
    a.arguments(groups=GROUPS)
    group(None)
    a.addi(W, W, 16)


def at_any_address(a: XtensaFunction) -> None:
    """`both` and `odd` where W is no multiple of four: src joins the parts of two words."""
    before, at = GROUPS, M
    for name in "both", "odd":
        a.l32i(T, X_START)
        if name == "odd":
            a.movi(T, 0)
            a.wsr(T, ACCHI)
        a.wsr(T, ACCLO)
        a.addi(X, X_START, 4)
        a.ssa8l(W)
        a.extui(V, W, 0, 2)
        a.sub(at, W, V)
        a.l32i(before, at)
        a.arguments(inputs=T)
        a.srli(T, T, 1)
        a.loopnez(T, name + " at any address")
        a.l32i(V, at, 4)
        a.addi(at, at, 4)
        a.src(T, V, before)
        a.mov(before, V)
        if name == "odd":
            a.and_(T, T, MASK)
        a.mula_da(LL, 0, T)
        a.mula_da_ldinc(HH, 0, X, 0, T)
        a.label(name + " at any address")
        if name == "both":
            a.rsr(T, ACCLO)
            a.keep(T, "sum")
    a.arguments(groups=GROUPS, sum=M, inputs=V)
    a.addx2(W, V, W)


def finish(a: XtensaFunction, again: str) -> None:
    """Results of a pair, in the format that FORMAT says; then to the label `again`, as long as
    there are outputs LEFT.

    acc * (mult << 17) has acc * mult >> 15 in its high word, as in matmul16_xtensa.
    """
    even, odd, t, u = M, V, T, X
    a.rsr(t, ACCHI)
    a.rsr(odd, ACCLO)
    a.ssai(8)
    a.addi(LEFT, LEFT, -2)
    a.sub(even, even, odd)
    a.src(odd, t, odd)
    a.beqz(BIAS, again + ", no bias")
    a.l32i(u, BIAS, 0)
    a.l32i(t, BIAS, 4)
    a.addi(BIAS, BIAS, 8)
    a.add(even, even, u)
    a.add(odd, odd, t)
    a.label(again + ", no bias")
    a.beqz(FORMAT, again + ", int32")
    a.l16ui(t, MULT, 0)
    a.l16ui(u, MULT, 2)
    a.addi(MULT, MULT, 4)
    a.slli(t, t, 17)
    a.slli(u, u, 17)
    a.mulsh(t, even, t)
    a.mulsh(u, odd, u)
    a.add(even, even, t)
    a.l8ui(t, SHIFT, 0)
    a.add(odd, odd, u)
    a.l8ui(u, SHIFT, 1)
    a.addi(SHIFT, SHIFT, 2)
    a.addi(t, t, -16)
    a.ssr(t)
    a.sra(even, even)
    a.addi(u, u, -16)
    a.ssr(u)
    a.sra(odd, odd)
    for acc in even, odd:
        a.addi(acc, acc, 1)
        a.srai(acc, acc, 1)
    a.neg(t, FORMAT)
    a.bltz(FORMAT, again + ", int8")
    for i, acc in enumerate((even, odd)):
        a.min(acc, acc, FORMAT)
        a.max(acc, acc, t)
        a.s16i(acc, OUT, 2 * i)
    a.addi(OUT, OUT, 4)
    a.bnez(LEFT, again)
    a.j(again + ", done")
    a.label(again + ", int8")
    for i, acc in enumerate((even, odd)):
        a.max(acc, acc, FORMAT)
        a.min(acc, acc, t)
        a.s8i(acc, OUT, i)
    a.addi(OUT, OUT, 2)
    a.bnez(LEFT, again)
    a.j(again + ", done")
    a.label(again + ", int32")
    a.s32i(even, OUT, 0)
    a.s32i(odd, OUT, 4)
    a.addi(OUT, OUT, 8)
    a.bnez(LEFT, again)
    a.label(again + ", done")
