"""int8 matrix product on RV32IM: attn8/forms/viper/matmul.py says what it computes.

Three rows of x are packed, and meet four rows of weights at a time. Where there are fewer, or rows
are long, eight outputs of one row are made at a time, so that a value of x is loaded once for eight
products; then one by one.
"""

from functools import partial

from ..mpy import Rv32Function
from ..rv32 import A4, A5, A6, A7, RA, S0, S1, S10, S11, T0, T1, T2, T3, T4, T5, T6, ZERO
from . import triples_rv32 as triples
from .common_rv32 import END, ROWS, SUMS, UNROLL, settle
from .outputs_rv32 import BIAS, HIGH, LEFT, LOW, OUT, UNROLLED, X_START, outputs

PACKED = 512  # inputs whose packed rows have room
BLOCK = 64
SPARE = {"matmul": triples.SPARE}

OUTS = (A4, A5, A6)  # of three rows


def matmul(a: Rv32Function) -> None:
    """As in viper; and where `wide` is 2, int16, of three rows at a time alone (see `int16_rows` of
    the device's module): they are read before their results are written.
    """
    three_rows(a)
    w = ROWS[0]
    a.label("row by row")
    a.arguments(x=X_START, out=OUT)
    a.li(LOW, -127)
    a.li(HIGH, 127)
    a.label("row")
    a.arguments(w=w, outputs=LEFT, bias=BIAS, inputs=END)
    a.andi(UNROLLED, END, -UNROLL)
    a.add(UNROLLED, UNROLLED, X_START)
    a.add(END, END, X_START)
    outputs(a, a.lb, 1, partial(results, a))
    a.mv(X_START, END)
    a.arguments(rows=T2)
    a.addi(T2, T2, -1)
    a.keep(T2, "rows")
    a.bne(T2, ZERO, "row")
    a.label("done")


def three_rows(a: Rv32Function) -> None:
    """All of the product, rows in threes and outputs in fours: the last ones lap over those before
    where they do not divide.
    """
    w, left, high, bias, mult, shift = triples.W, S0, S1, A7, S10, S11
    t, u, inputs, stride, size = T2, T3, T4, T5, T6
    a.arguments(rows=t, outputs=u, inputs=inputs)
    for register, least in ((t, 3), (u, 4)):
        a.addi(register, register, -least)
        a.blt(register, ZERO, "to rows")
    a.li(t, PACKED)
    a.bge(t, inputs, "packed")
    a.label("to rows")
    a.j("row by row")
    a.label("packed")
    triples.prepare(a, inputs, BLOCK)
    # Of a result: its bytes as a power of two, 0, 2 and 1 where `wide` is 0, 1 and 2; its limit
    a.arguments(wide=size)
    a.li(high, 127)
    a.andi(t, size, 2)
    a.beq(t, ZERO, "no int16")
    a.li(size, 1)
    a.lui(high, 8)
    a.addi(high, high, -1)
    a.j("format known")
    a.label("no int16")
    a.slli(size, size, 1)
    a.label("format known")
    a.keep(size, "acc")
    a.label("three rows")
    a.arguments(rows=t, x=w[0], out=OUTS[0], acc=size, outputs=stride, inputs=inputs)
    a.sll(stride, stride, size)
    a.addi(t, t, -3)
    a.bge(t, ZERO, "three are left")
    a.mul(u, t, inputs)
    a.add(w[0], w[0], u)
    a.mul(u, t, stride)
    a.add(OUTS[0], OUTS[0], u)
    a.label("three are left")
    a.keep(t, "rows")
    for rows, step in ((w[:3], inputs), (OUTS, stride)):
        for i in range(1, 3):
            a.add(rows[i], rows[i - 1], step)
    a.add(t, OUTS[2], stride)
    a.keep(t, "out")
    a.mv(left, inputs)
    triples.pack(a, left)
    a.keep(w[2], "x")
    a.arguments(w=w[0], outputs=left, bias=bias, mult=mult, shift=shift)
    a.label("four outputs")
    a.arguments(inputs=inputs)
    a.addi(left, left, -4)
    a.bge(left, ZERO, "four are left")
    a.arguments(acc=size)
    a.mul(t, left, inputs)
    a.add(w[0], w[0], t)
    a.add(shift, shift, left)
    a.slli(t, left, 1)
    a.add(mult, mult, t)
    a.slli(t, left, 2)
    a.add(bias, bias, t)
    a.sll(t, left, size)
    for out in OUTS:
        a.add(out, out, t)
    a.label("four are left")
    for i in range(1, 4):
        a.add(w[i], w[i - 1], inputs)
    triples.tile(a, BLOCK)
    a.mv(w[0], w[3])
    sums = [*zip(triples.S_0, triples.S_1, triples.S_2, strict=True)]
    m, s, b, low, bits = T0, T1, T6, RA, T6
    for i in range(4):
        add_bias(a, sums[i], b, 4 * i, bias)
    a.arguments(acc=bits)
    a.andi(low, bits, 2)
    a.bne(low, ZERO, "int32")
    a.sub(low, ZERO, high)
    for i in range(4):
        a.lhu(m, 2 * i, mult)
        a.lbu(s, i, shift)
        a.slli(m, m, 17)
        a.addi(s, s, -16)
        for acc, out in zip(sums[i], OUTS, strict=True):
            settle(a, f"sum {i} of {out}", acc, m, s, high, low)
        a.bne(bits, ZERO, f"int16 {i}")
        for acc, out in zip(sums[i], OUTS, strict=True):
            a.sb(acc, i, out)
        a.label(f"stored {i}")
    a.label("next outputs")
    a.li(m, 4)
    a.sll(m, m, bits)
    for out in OUTS:
        a.add(out, out, m)
    a.addi(bias, bias, 16)
    a.addi(mult, mult, 8)
    a.addi(shift, shift, 4)
    a.blt(ZERO, left, "four outputs")
    a.arguments(rows=t)
    a.blt(ZERO, t, "three rows")
    a.j("done")
    for i in range(4):
        a.label(f"int16 {i}")
        for acc, out in zip(sums[i], OUTS, strict=True):
            a.sh(acc, 2 * i, out)
        a.j(f"stored {i}")
    a.label("int32")
    for i in range(4):
        for acc, out in zip(sums[i], OUTS, strict=True):
            a.sw(acc, 4 * i, out)
    a.j("next outputs")


def add_bias(a: Rv32Function, sums: tuple[int, int, int], b: int, place: int, bias: int) -> None:
    """To the sums of three rows, as `tile` leaves them."""
    a.lw(b, place, bias)
    a.add(sums[1], sums[1], b)
    a.addi(b, b, 1)
    a.add(sums[0], sums[0], b)
    a.add(sums[2], sums[2], b)


def results(a: Rv32Function, name: str, tile: int) -> None:
    """int8, or int32 where `wide` is 1."""
    a.arguments(wide=T2)
    a.bne(T2, ZERO, name + " wide")
    mult, shift, m, s, t = *ROWS[1:5], T2
    a.arguments(bias=t, mult=mult, shift=shift)
    a.sub(t, BIAS, t)  # 4 bytes for each output before
    a.srli(t, t, 1)
    a.add(mult, mult, t)
    a.srli(t, t, 1)
    a.add(shift, shift, t)
    for j, acc in enumerate(SUMS[:tile]):
        a.lhu(m, 2 * j, mult)
        a.lbu(s, j, shift)
        a.slli(m, m, 17)
        a.addi(s, s, -16)
        settle(a, f"{name} {j}", acc, m, s, HIGH, LOW)
        a.sb(acc, j, OUT)
    a.addi(OUT, OUT, tile)
    a.j(name + " next")
    a.label(name + " wide")
    for j, acc in enumerate(SUMS[:tile]):
        a.sw(acc, 4 * j, OUT)
    a.addi(OUT, OUT, 4 * tile)
    a.label(name + " next")
