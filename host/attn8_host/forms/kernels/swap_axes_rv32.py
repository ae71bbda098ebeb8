"""Moving data on RV32IM: attn8/forms/viper/swap_axes.py says what it computes."""

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, A6, A7, T0, T1, T2, ZERO


def swap_axes(a: Rv32Function) -> None:
    x, out, n, m, size, step, words, target = A0, A1, A2, A3, A4, A5, A6, A7
    end, left, v = T0, T1, T2
    a.arguments(x=x, out=out, n=n, m=m, size=size, rows=step)
    a.mul(step, step, size)
    a.or_(words, x, out)
    a.or_(words, words, size)
    a.andi(words, words, 3)  # not 0: bytes have to do
    a.sub(step, step, size)  # from the end of a piece to the next one
    a.label("row")
    a.mv(target, out)
    a.mv(left, m)
    a.label("piece")
    a.add(end, target, size)
    a.bne(words, ZERO, "bytes")
    a.label("words")
    a.lw(v, 0, x)
    a.addi(x, x, 4)
    a.sw(v, 0, target)
    a.addi(target, target, 4)
    a.bne(target, end, "words")
    a.j("next")
    a.label("bytes")
    a.lbu(v, 0, x)
    a.addi(x, x, 1)
    a.sb(v, 0, target)
    a.addi(target, target, 1)
    a.bne(target, end, "bytes")
    a.label("next")
    a.add(target, target, step)
    a.addi(left, left, -1)
    a.bne(left, ZERO, "piece")
    a.add(out, out, size)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "row")
