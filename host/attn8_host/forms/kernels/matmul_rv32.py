"""int8 matrix product on RV32IM: attn8/forms/viper/matmul.py says what it computes.

Eight outputs at a time, so that a value of x is loaded once for eight products; then one by one.
"""

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import END, ROWS, SUMS, TILE, UNROLL, X, dot, requantize

# Register map, beside that of `dot`
X_START = S0
OUT = S1
LEFT = S10  # outputs beyond the next tile
CONSTANTS = S11
LOW, HIGH = RA, T6  # -127 and 127
UNROLLED = T5
T = (T2, T3, T4)


def matmul(a: Rv32Function) -> None:
    """bias: int32 [outputs, 4], bias, mult, shift - 16 and one that is not used. Neither are mult,
    shift and row.
    """
    w = ROWS[0]
    a.arguments(x=X_START, out=OUT)
    a.li(LOW, -127)
    a.li(HIGH, 127)
    a.label("row")
    a.arguments(w=w, outputs=LEFT, bias=CONSTANTS, inputs=END)
    a.andi(UNROLLED, END, -UNROLL)
    a.add(UNROLLED, UNROLLED, X_START)
    a.add(END, END, X_START)
    outputs(a, TILE)
    outputs(a, 1)
    a.mv(X_START, END)
    a.arguments(rows=T2)
    a.addi(T2, T2, -1)
    a.keep(T2, "rows")
    a.bne(T2, ZERO, "row")


def outputs(a: Rv32Function, tile: int) -> None:
    """Outputs of one row while `tile` or more are left; ROWS[0] is the next one's weights."""
    name = f"{tile} outputs"
    a.addi(LEFT, LEFT, -tile)
    a.blt(LEFT, ZERO, name + " done")
    a.label(name)
    a.mv(X, X_START)
    a.arguments(inputs=T2)
    for j in range(1, tile):
        a.add(ROWS[j], ROWS[j - 1], T2)
    for j, acc in enumerate(SUMS[:tile]):
        a.lw(acc, 16 * j, CONSTANTS)
    dot(a, name, tile, a.lb, a.lb, (1, 1), UNROLLED, T)
    a.mv(ROWS[0], ROWS[tile - 1])
    a.arguments(wide=T2)
    a.bne(T2, ZERO, name + " wide")
    for j, acc in enumerate(SUMS[:tile]):
        mult, shift, t = T
        a.lw(mult, 16 * j + 4, CONSTANTS)
        a.lw(shift, 16 * j + 8, CONSTANTS)
        requantize(a, f"{name} {j}", acc, mult, shift, HIGH, LOW, t)
        a.sb(acc, j, OUT)
    a.addi(OUT, OUT, tile)
    a.j(name + " next")
    a.label(name + " wide")
    for j, acc in enumerate(SUMS[:tile]):
        a.sw(acc, 4 * j, OUT)
    a.addi(OUT, OUT, 4 * tile)
    a.label(name + " next")
    a.addi(CONSTANTS, CONSTANTS, 16 * tile)
    a.addi(LEFT, LEFT, -tile)
    a.bge(LEFT, ZERO, name)
    a.label(name + " done")
    a.addi(LEFT, LEFT, tile)
