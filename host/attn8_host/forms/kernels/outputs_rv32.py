"""Products of one row of x with many rows of weights on RV32IM, eight outputs at a time, so that a
value of x is loaded once for eight products; then one by one.
"""

from collections.abc import Callable

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import ROWS, SUMS, TILE, UNROLL, X, dot

# Register map, beside that of `dot`
X_START = S0
OUT = S1
LEFT = S10  # outputs beyond the next tile
BIAS = S11
LOW, HIGH = RA, T6  # limits of a result
UNROLLED = T5
T = (T2, T3, T4)


def outputs(
    a: Rv32Function,
    load_x: Callable[[int, int, int], None],
    size: int,
    results: Callable[[str, int], None],
    unroll: int = UNROLL,
    paired: bool = False,
    biased: bool = True,
) -> None:
    """All outputs of a row; ROWS[0] is the next one's weights, and LEFT is how many there are.

    Args:
        load_x: the instruction that loads a value of x, of so many bytes.
        results: gets a prefix for labels and how many outputs SUMS are; writes them to OUT, and
            moves that. X, T and the rows beyond the first are free then.
        unroll: values of x in the unrolled loop.
        paired: whether weights lie in pairs of rows (see numerics.pairs), an even number of them;
            what goes off the sums of even rows is then the word at `row`.
        biased: whether there always are biases; if not, BIAS may be 0.
    """
    share = 2 if paired else 1
    for tile in (TILE, share):
        name = f"{tile} outputs" + " in pairs" * paired
        a.addi(LEFT, LEFT, -tile)
        a.blt(LEFT, ZERO, name + " done")
        a.label(name)
        a.mv(X, X_START)
        a.arguments(inputs=T2)
        if paired:
            a.slli(T2, T2, 1)
        for j in range(1, tile // share):
            a.add(ROWS[j], ROWS[j - 1], T2)
        if not biased:
            for acc in SUMS[:tile]:
                a.li(acc, 0)
            a.beq(BIAS, ZERO, name + " without bias")
        for j, acc in enumerate(SUMS[:tile]):
            a.lw(acc, 4 * j, BIAS)
        if not biased:
            a.addi(BIAS, BIAS, 4 * tile)
            a.label(name + " without bias")
        if paired:
            a.arguments(row=T2)
            a.lw(T2, 0, T2)
            for acc in SUMS[:tile:2]:
                a.sub(acc, acc, T2)
        dot(a, name, tile, load_x, a.lb, (size, 1), UNROLLED, T, unroll, a.lbu if paired else None)
        a.mv(ROWS[0], ROWS[tile // share - 1])
        results(name, tile)
        if biased:  # results may read what stands beside them
            a.addi(BIAS, BIAS, 4 * tile)
        a.addi(LEFT, LEFT, -tile)
        a.bge(LEFT, ZERO, name)
        a.label(name + " done")
        a.addi(LEFT, LEFT, tile)
