"""int8 matrix product on RV32IM: attn8/kernels/matmul.py says what it computes.

Eight outputs at a time, so that a value of x is loaded once for eight products; then one by one.
Weights are packed as bytes, w + 128, which the sums start at taking off again.
"""

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import END, ROWS, SUMS, TILE, UNROLL, X, copy, dot, requantise

# Register map, beside that of `dot`
START = S0  # of each sum
OUT = S1
COUNT = S10  # outputs left
CONSTANTS = S11
LOW, HIGH = RA, T6  # -127 and 127
UNROLLED = T5
T = (T2, T3, T4)


def pack(a: Rv32Function) -> None:
    """The packed bias in constants, which `bias` is, becomes the plain one; w stays w + 128.

    constants: int32 [outputs, 4]: bias, mult, shift - 16, and one that is not used here.
    """
    w, constants, inputs, outputs = ROWS[:4]
    a.arguments(w=w, bias=constants, inputs=inputs, outputs=outputs)
    a.label("row")
    a.li(T2, 0)
    a.add(T3, w, inputs)
    a.label("weight")
    a.lbu(T4, 0, w)
    a.addi(w, w, 1)
    a.add(T2, T2, T4)
    a.bne(w, T3, "weight")
    a.lw(T3, 0, constants)
    a.slli(T2, T2, 7)
    a.slli(T4, inputs, 14)
    a.sub(T2, T2, T4)
    a.add(T3, T3, T2)
    a.sw(T3, 0, constants)
    a.addi(constants, constants, 16)
    a.addi(outputs, outputs, -1)
    a.bne(outputs, ZERO, "row")


def matmul(a: Rv32Function) -> None:
    """bias: the constants that `pack` made; mult, shift and row are not used."""
    w = ROWS[0]
    a.arguments(out=OUT)
    a.li(LOW, -127)
    a.li(HIGH, 127)
    a.label("row")
    sum_row(a)
    a.arguments(w=w, outputs=COUNT, bias=CONSTANTS)
    outputs(a, TILE)
    outputs(a, 1)
    a.arguments(rows=T2, x=X, inputs=T3)
    a.add(X, X, T3)
    a.keep(X, "x")
    a.addi(T2, T2, -1)
    a.keep(T2, "rows")
    a.bne(T2, ZERO, "row")


def sum_row(a: Rv32Function) -> None:
    """START = -128 * sum(x), what takes off the offset of the weights."""
    x, end, unrolled, b = X, END, UNROLLED, T2
    a.arguments(x=x, inputs=end)
    a.andi(unrolled, end, -UNROLL)
    a.add(unrolled, unrolled, x)
    a.add(end, end, x)
    a.li(START, 0)

    def value(i: int) -> None:
        a.lb(b, i, x)
        a.add(START, START, b)

    a.beq(x, unrolled, "sum rest")
    a.label("sum block")
    for i in range(UNROLL):
        value(i)
    a.addi(x, x, UNROLL)
    a.bne(x, unrolled, "sum block")
    a.label("sum rest")
    a.beq(x, end, "summed")
    a.label("sum one")
    value(0)
    a.addi(x, x, 1)
    a.bne(x, end, "sum one")
    a.label("summed")
    a.slli(START, START, 7)
    a.sub(START, ZERO, START)


def outputs(a: Rv32Function, tile: int) -> None:
    """Outputs of one row while `tile` or more are left; ROWS[0] is the next one's weights."""
    name = f"{tile} outputs"
    a.li(T2, tile)
    a.blt(COUNT, T2, name + " done")
    a.label(name)
    a.arguments(x=X, inputs=T2)
    for j in range(1, tile):
        a.add(ROWS[j], ROWS[j - 1], T2)
    copy(a, SUMS[:tile], START)
    dot(a, name, tile, a.lb, a.lbu, (1, 1), UNROLLED, T)
    a.mv(ROWS[0], ROWS[tile - 1])
    a.arguments(wide=T2)
    a.bne(T2, ZERO, name + " wide")
    for j, acc in enumerate(SUMS[:tile]):
        mult, shift, t = T
        a.lw(t, 16 * j, CONSTANTS)
        a.lw(mult, 16 * j + 4, CONSTANTS)
        a.add(acc, acc, t)
        a.lw(shift, 16 * j + 8, CONSTANTS)
        requantise(a, f"{name} {j}", acc, mult, shift, HIGH, LOW, t)
        a.sb(acc, j, OUT)
    a.addi(OUT, OUT, tile)
    a.j(name + " next")
    a.label(name + " wide")
    for j, acc in enumerate(SUMS[:tile]):
        a.lw(T2, 16 * j, CONSTANTS)
        a.add(acc, acc, T2)
        a.sw(acc, 4 * j, OUT)
    a.addi(OUT, OUT, 4 * tile)
    a.label(name + " next")
    a.addi(CONSTANTS, CONSTANTS, 16 * tile)
    a.addi(COUNT, COUNT, -tile)
    a.li(T2, tile)
    a.bge(COUNT, T2, name)
    a.label(name + " done")
