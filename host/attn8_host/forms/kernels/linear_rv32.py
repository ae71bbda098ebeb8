"""Linear attention on RV32IM: attn8/forms/viper/linear.py says what each kernel computes."""

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T0, T1, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import END, ROWS, SUMS, TILE, UNROLL, X, clear, dot, requantize

HELD = (*ROWS, *SUMS)


def fill(a: Rv32Function) -> None:
    x, value, n = ROWS[:3]
    a.arguments(x=x, value=value, n=n)
    a.slli(n, n, 2)
    a.add(n, n, x)
    a.beq(x, n, "filled")
    a.label("word")
    a.sw(value, 0, x)
    a.addi(x, x, 4)
    a.bne(x, n, "word")
    a.label("filled")


def accumulate(a: Rv32Function) -> None:
    """A token's features go to `row`; its values, as many as registers hold, meet each of them."""
    k, v, row, table, z, end, f, t = ROWS
    a.arguments(first=t, head_dim=f, k=k, v=v)
    a.mul(t, t, f)
    a.add(k, k, t)
    a.add(v, v, t)
    a.keep(k, "k")
    a.keep(v, "v")
    a.label("token")
    a.arguments(k=k, row=row, table=table, z=z, head_dim=end)
    a.add(end, end, k)
    a.label("feature")
    a.lbu(f, 0, k)
    a.addi(k, k, 1)
    a.slli(f, f, 1)
    a.add(f, f, table)
    a.lhu(f, 0, f)
    a.lw(t, 0, z)
    a.sh(f, 0, row)
    a.add(t, t, f)
    a.sw(t, 0, z)
    a.addi(row, row, 2)
    a.addi(z, z, 4)
    a.bne(k, end, "feature")
    a.keep(k, "k")
    add_columns(a)
    a.arguments(tokens=T0)
    a.addi(T0, T0, -1)
    a.keep(T0, "tokens")
    a.bne(T0, ZERO, "token")


def add_columns(a: Rv32Function) -> None:
    """The token's part of kv."""
    column, row, end, f, x, t, stride, left, v, kv = T0, T1, T2, T3, T4, T5, T6, S0, S1, S10
    a.arguments(kv=column, v=v, head_dim=left)
    a.slli(stride, left, 2)
    for size in (16, 4, 1):
        name = f"{size} columns"
        a.label(name)
        a.addi(left, left, -size)
        a.blt(left, ZERO, name + " done")
        for i, value in enumerate(HELD[:size]):
            a.lbu(value, i, v)
        for value in HELD[:size]:
            a.xori(value, value, 128)
        a.addi(v, v, size)
        a.mv(kv, column)
        a.arguments(row=row, head_dim=end)
        a.slli(end, end, 1)
        a.add(end, end, row)
        a.label(name + " feature")
        a.lhu(f, 0, row)
        a.addi(row, row, 2)
        for i, value in enumerate(HELD[:size]):
            a.lw(x, 4 * i, kv)
            a.mul(t, value, f)
            a.add(x, x, t)
            a.sw(x, 4 * i, kv)
        a.add(kv, kv, stride)
        a.bne(row, end, name + " feature")
        a.addi(column, column, 4 * size)
        a.j(name)
        a.label(name + " done")
        a.addi(left, left, size)
    a.keep(v, "v")


def shrink(a: Rv32Function) -> None:
    kv, z, out, left, columns, stride, to, offset = ROWS
    x, top, p, half, end, limit = SUMS[:6]
    a.arguments(kv=kv, z=z, out=out, features=left, head_dim=columns, limit=limit)
    a.slli(stride, left, 2)
    a.slli(columns, columns, 2)
    a.li(top, 0)
    a.label("row")
    a.lw(offset, 0, z)
    a.addi(z, z, 4)
    a.slli(offset, offset, 7)
    a.mv(to, out)
    a.add(end, kv, columns)
    a.label("column")
    a.lw(x, 0, kv)
    a.addi(kv, kv, 4)
    a.sub(x, x, offset)
    a.sw(x, 0, to)
    a.add(to, to, stride)
    a.bge(x, ZERO, "positive")
    a.sub(x, ZERO, x)
    a.label("positive")
    a.bge(top, x, "not larger")
    a.mv(top, x)
    a.label("not larger")
    a.bne(kv, end, "column")
    a.addi(out, out, 4)
    a.addi(left, left, -1)
    a.bne(left, ZERO, "row")
    a.li(p, 0)
    a.li(half, 0)
    a.label("shift")
    a.add(x, top, half)
    a.srl(x, x, p)
    a.bgeu(limit, x, "within")
    a.li(half, 1)
    a.sll(half, half, p)
    a.addi(p, p, 1)
    a.j("shift")
    a.label("within")
    a.beq(p, ZERO, "shifted")
    a.arguments(out=out, features=end)
    a.mul(end, end, columns)
    a.add(end, end, out)
    a.label("value")
    a.lw(x, 0, out)
    a.add(x, x, half)
    a.sra(x, x, p)
    a.sw(x, 0, out)
    a.addi(out, out, 4)
    a.bne(out, end, "value")
    a.label("shifted")
    a.mv(ROWS[0], p)


def features(a: Rv32Function) -> None:
    x, table, out, end, n, t = ROWS[:6]
    a.arguments(x=x, table=table, out=out, first=t, head_dim=n, rows=end)
    a.mul(t, t, n)
    a.add(x, x, t)
    a.mul(end, end, n)
    a.add(end, end, x)
    a.label("feature")
    a.lbu(t, 0, x)
    a.addi(x, x, 1)
    a.slli(t, t, 1)
    a.add(t, t, table)
    a.lhu(t, 0, t)
    a.sh(t, 0, out)
    a.addi(out, out, 2)
    a.bne(x, end, "feature")


# Register map of `attend`, beside that of `dot`
OUT, LEFT, M, UNROLLED = S0, S1, S10, S11
T = (T2, T3, T4)


def attend(a: Rv32Function) -> None:
    total, t, u, n = SUMS[0], T2, T3, T4
    a.arguments(out=OUT, first=t, head_dim=u, sums=n)
    a.mul(u, u, t)
    a.add(OUT, OUT, u)
    a.slli(t, t, 2)
    a.add(n, n, t)
    a.keep(n, "sums")
    a.label("row")
    a.arguments(denominator=total)
    a.bne(total, ZERO, "given")
    a.arguments(z=ROWS[0])
    products(a, "denominator", 1)
    a.label("given")
    a.arguments(sums=t)
    a.sw(total, 0, t)
    a.addi(t, t, 4)
    a.keep(t, "sums")
    a.li(M, 0)
    a.beq(total, ZERO, "no weight")
    a.mv(t, total)
    a.li(n, -15)  # bits beyond 16
    for bits in (16, 8, 4, 2, 1):
        a.srli(u, t, bits)
        a.beq(u, ZERO, f"not {bits}")
        a.mv(t, u)
        a.addi(n, n, bits)
        a.label(f"not {bits}")
    a.srl(t, total, n)
    a.bge(n, ZERO, "normal")
    a.sub(t, ZERO, n)
    a.sll(t, total, t)
    a.label("normal")
    a.arguments(num=M, p=u)
    a.sub(n, n, u)
    a.keep(n, "first")  # what a row's sums are shifted by, to the right
    a.srli(u, t, 1)
    a.add(M, M, u)
    a.divu(M, M, t)
    a.label("no weight")
    a.arguments(kv=ROWS[0], head_dim=LEFT)
    for size in (TILE, 1):
        attend_columns(a, size)
    a.keep(END, "phi")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.bne(t, ZERO, "row")


def attend_columns(a: Rv32Function, size: int) -> None:
    """`size` columns of one row, as long as there are as many to come."""
    name = f"{size} columns"
    high, low, left, right, shift, t = (*T, T5, T6, RA)
    a.label(name)
    a.addi(LEFT, LEFT, -size)
    a.blt(LEFT, ZERO, name + " done")
    a.arguments(features=t)
    a.slli(t, t, 2)
    for j in range(1, size):
        a.add(ROWS[j], ROWS[j - 1], t)
    products(a, name, size)
    a.mv(ROWS[0], ROWS[size - 1])
    a.arguments(first=right, shift=shift)
    a.addi(shift, shift, -16)
    a.li(high, 127)
    a.li(low, -127)
    a.li(left, 0)
    a.bge(right, ZERO, name + " right")
    a.sub(left, ZERO, right)
    a.li(right, 0)
    a.label(name + " right")
    for j, acc in enumerate(SUMS[:size]):
        a.sll(acc, acc, left)
        a.sra(acc, acc, right)
        requantize(a, f"{name} {j}", acc, M, shift, high, low, t)
        a.sb(acc, j, OUT)
    a.addi(OUT, OUT, size)
    a.j(name)
    a.label(name + " done")
    a.addi(LEFT, LEFT, size)


def products(a: Rv32Function, name: str, size: int) -> None:
    """SUMS = a row of phi times each of the first `size` ROWS, which move on behind it."""
    a.arguments(phi=X, features=END)
    a.andi(UNROLLED, END, -UNROLL)
    a.slli(UNROLLED, UNROLLED, 1)
    a.add(UNROLLED, UNROLLED, X)
    a.slli(END, END, 1)
    a.add(END, END, X)
    clear(a, SUMS[:size])
    dot(a, name, size, a.lhu, a.lw, (2, 4), UNROLLED, T)
