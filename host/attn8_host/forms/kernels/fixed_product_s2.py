"""Products of training's fixed point on an LX7 without MAC16: attn8/forms/viper/fixed_product.py
says what they compute. Mantissas are int16, as fixed_product_xtensa.py packs them.
"""

from ..mpy import XtensaFunction
from .fixed_product_xtensa import (
    GROUP,
    GROUPS,
    LEFT,
    REST,
    TOTAL,
    ZERO,
    T,
    U,
    Y,
    matmul_with,
)
from .fixed_product_xtensa import SPARE as OF_XTENSA

__all__ = ["SPARE", "matmul"]

SPARE = {"matmul": (*OF_XTENSA["matmul"], "kept shift", "kept limit")}


def matmul(a: XtensaFunction) -> None:
    """Four instructions a product of eight, and what `products` takes around them."""
    matmul_with(a, products, 4)


def products(a: XtensaFunction) -> None:
    """As there. GROUPS and REST count, and are what they were afterwards."""
    acc, turns = 14, 15  # the shift and the limit, until then
    a.keep(acc, "kept shift")
    a.keep(turns, "kept limit")

    def sums(n: int) -> None:
        for k in range(n):
            a.l16si(T, LEFT, 2 * k)
            a.l16si(U, Y, 2 * k)
            to = T if k else acc
            a.mull(to, T, U)
            if k:
                a.add(acc, acc, T)
        a.addi(LEFT, LEFT, 2 * n)
        a.addi(Y, Y, 2 * n)
        a.sra(acc, acc)
        a.add(TOTAL, TOTAL, acc)

    a.mov(turns, GROUPS)
    a.beqz(turns, "groups done")
    a.label("groups")
    sums(GROUP)
    a.addi(turns, turns, -1)
    a.bnez(turns, "groups")
    a.label("groups done")
    a.beqz(REST, "no rest")
    a.mov(turns, REST)  # of two mantissas, which are summed before the guard bits go
    a.mov(acc, ZERO)
    a.label("rest")
    for k in range(2):
        a.l16si(T, LEFT, 2 * k)
        a.l16si(U, Y, 2 * k)
        a.mull(T, T, U)
        a.add(acc, acc, T)
    a.addi(LEFT, LEFT, 4)
    a.addi(Y, Y, 4)
    a.addi(turns, turns, -1)
    a.bnez(turns, "rest")
    a.sra(acc, acc)
    a.add(TOTAL, TOTAL, acc)
    a.label("no rest")
    a.argument(acc, "kept shift")
    a.argument(turns, "kept limit")
