"""Linear attention on LX6 and LX7: attn8/forms/viper/linear.py says what each kernel computes."""

from ..mpy import XtensaFunction
from .common_xtensa import half_of, round_shift, scale

UNROLL = 4


def fill(a: XtensaFunction) -> None:
    x, value, n = 2, 3, 4
    a.arguments(x=x, value=value, n=n)
    a.loopnez(n, "filled")
    a.s32i(value, x)
    a.addi(x, x, 4)
    a.label("filled")


def accumulate(a: XtensaFunction) -> None:
    """A token's features go to `row`; its values, as many as registers hold, meet each of them."""
    k, v, row, table, z, n, f, t = range(2, 10)
    a.arguments(first=t, head_dim=n, k=k, v=v)
    a.mull(t, t, n)
    a.add(k, k, t)
    a.add(v, v, t)
    a.keep(k, "k")
    a.keep(v, "v")
    a.label("token")
    a.arguments(k=k, row=row, table=table, z=z, head_dim=n)
    a.keep(n, "first")  # columns to come
    a.loopnez(n, "feature")
    a.l8ui(f, k)
    a.addi(k, k, 1)
    a.addx2(f, f, table)
    a.l16ui(f, f)
    a.l32i(t, z)
    a.s16i(f, row)
    a.addi(row, row, 2)
    a.add(t, t, f)
    a.s32i(t, z)
    a.addi(z, z, 4)
    a.label("feature")
    a.keep(k, "k")
    for size in (8, 4, 1):
        add_columns(a, size)
    a.arguments(tokens=t)
    a.addi(t, t, -1)
    a.keep(t, "tokens")
    a.beqz(t, "done")
    a.j("token")
    a.label("done")


def add_columns(a: XtensaFunction, size: int) -> None:
    """`size` columns of kv, as long as there are as many."""
    values = range(2, 2 + size)
    kv, row, f, x, t, stride = range(10, 16)
    name = f"{size} columns"
    a.label(name)
    a.arguments(first=x, v=kv, head_dim=stride)
    a.addi(t, x, -size)
    a.bgez(t, name + " there")
    a.j(name + " done")
    a.label(name + " there")
    a.keep(t, "first")
    a.movi(f, 128)
    for i, value in enumerate(values):
        a.l8ui(value, kv, i)
        a.xor(value, value, f)
    a.addi(kv, kv, size)
    a.keep(kv, "v")
    a.arguments(kv=kv, row=row)
    a.sub(x, stride, x)
    a.addx4(kv, x, kv)
    a.mov(t, stride)
    a.slli(stride, stride, 2)
    a.loopnez(t, name + " feature")
    a.l16ui(f, row)
    a.addi(row, row, 2)
    for i, value in enumerate(values):
        a.l32i(x, kv, 4 * i)
        a.mull(t, value, f)
        a.add(x, x, t)
        a.s32i(x, kv, 4 * i)
    a.add(kv, kv, stride)
    a.label(name + " feature")
    a.j(name)
    a.label(name + " done")


def shrink(a: XtensaFunction) -> None:
    kv, z, out, left, columns, stride, to, offset, x, top, low, p = range(2, 14)
    a.arguments(kv=kv, z=z, out=out, features=left, head_dim=columns)
    a.slli(stride, left, 2)
    a.movi(top, 0)
    a.movi(low, 0)
    a.label("row")
    a.l32i(offset, z)
    a.addi(z, z, 4)
    a.slli(offset, offset, 7)
    a.mov(to, out)
    a.loopnez(columns, "column")
    a.l32i(x, kv)
    a.addi(kv, kv, 4)
    a.sub(x, x, offset)
    a.max(top, top, x)
    a.min(low, low, x)
    a.s32i(x, to)
    a.add(to, to, stride)
    a.label("column")
    a.addi(out, out, 4)
    a.addi(left, left, -1)
    a.bnez(left, "row")
    a.neg(low, low)
    a.max(top, top, low)
    half, limit, n = kv, z, to
    a.arguments(limit=limit, out=out, features=n)
    a.movi(p, 0)
    a.movi(half, 0)
    a.ssr(p)
    a.label("shift")
    a.add(x, top, half)
    a.srl(x, x)
    a.branch("geu", limit, x, "within")
    a.addi(p, p, 1)
    half_of(a, half, p)
    a.ssr(p)
    a.j("shift")
    a.label("within")
    a.beqz(p, "shifted")
    a.mull(n, n, columns)
    a.loopnez(n, "value")
    a.l32i(x, out)
    a.add(x, x, half)
    a.sra(x, x)
    a.s32i(x, out)
    a.addi(out, out, 4)
    a.label("value")
    a.label("shifted")
    a.mov(2, p)


def features(a: XtensaFunction) -> None:
    x, table, out, n, t = range(2, 7)
    a.arguments(x=x, table=table, out=out, first=t, head_dim=n)
    a.mull(t, t, n)
    a.add(x, x, t)
    a.arguments(rows=t)
    a.mull(n, n, t)
    a.loopnez(n, "feature")
    a.l8ui(t, x)
    a.addi(x, x, 1)
    a.addx2(t, t, table)
    a.l16ui(t, t)
    a.s16i(t, out)
    a.addi(out, out, 2)
    a.label("feature")


# Register map of `attend`: rows of kv, their sums with a row of phi
ROWS, SUMS = range(2, 6), range(6, 10)
PHI, F, T, OUT, LEFT, U = range(10, 16)


def attend(a: XtensaFunction) -> None:
    total, m = SUMS[0], PHI
    a.arguments(out=OUT, first=T, head_dim=F, sums=U)
    a.mull(F, F, T)
    a.add(OUT, OUT, F)
    a.addx4(U, T, U)
    a.keep(U, "sums")
    a.label("row")
    a.arguments(denominator=total)
    a.bnez(total, "given")
    a.arguments(z=ROWS[0])
    dot(a, "denominator", 1)
    a.label("given")
    a.arguments(sums=T, num=F, p=U)
    a.s32i(total, T)
    a.addi(T, T, 4)
    a.keep(T, "sums")
    a.movi(m, 0)
    a.beqz(total, "no weight")
    a.nsau(T, total)
    a.ssl(T)
    a.sll(total, total)
    a.extui(total, total, 16, 16)  # its highest 16 bits
    a.add(U, U, T)
    a.movi(T, 16)
    a.sub(U, T, U)
    a.keep(U, "first")  # what a row's sums are shifted by, to the right
    a.srli(T, total, 1)
    a.add(T, T, F)
    a.quou(m, T, total)
    a.label("no weight")
    a.keep(m, "acc")
    a.arguments(kv=ROWS[0], head_dim=LEFT)
    for size in (4, 1):
        attend_columns(a, size)
    a.arguments(phi=T, features=F, rows=U)
    a.addx2(T, F, T)
    a.keep(T, "phi")
    a.addi(U, U, -1)
    a.keep(U, "rows")
    a.beqz(U, "done")
    a.j("row")
    a.label("done")


def attend_columns(a: XtensaFunction, size: int) -> None:
    """`size` columns of one row, as long as there are as many to come."""
    name = f"{size} columns"
    left, right, m, shift, low = U, T, F, U, PHI
    a.label(name)
    a.addi(LEFT, LEFT, -size)
    a.bltz(LEFT, name + " done")
    a.arguments(features=T)
    a.slli(T, T, 2)
    for j in range(1, size):
        a.add(ROWS[j], ROWS[j - 1], T)
    dot(a, name, size)
    if size > 1:
        a.mov(ROWS[0], ROWS[size - 1])
    a.arguments(first=right)
    a.movi(low, 0)
    a.neg(left, right)
    a.max(left, left, low)
    a.max(right, right, low)
    for acc in SUMS[:size]:
        a.ssl(left)
        a.sll(acc, acc)
        a.ssr(right)
        a.sra(acc, acc)
    a.arguments(acc=m, shift=shift)
    a.addi(shift, shift, -16)
    a.movi(low, -127)
    for j, acc in enumerate(SUMS[:size]):
        scale(a, acc, m, T)
        round_shift(a, acc, shift, low)
        a.s8i(acc, OUT, j)
    a.addi(OUT, OUT, size)
    a.j(name)
    a.label(name + " done")
    a.addi(LEFT, LEFT, size)


def dot(a: XtensaFunction, name: str, size: int) -> None:
    """SUMS = a row of phi times each of the first `size` ROWS, which move on behind it."""
    rows, sums = ROWS[:size], SUMS[:size]
    for acc in sums:
        a.movi(acc, 0)

    def products(n: int) -> None:
        for i in range(n):
            a.l16ui(F, PHI, 2 * i)
            for row, acc in zip(rows, sums, strict=True):
                a.l32i(T, row, 4 * i)
                a.mull(T, T, F)
                a.add(acc, acc, T)
        a.addi(PHI, PHI, 2 * n)
        for row in rows:
            a.addi(row, row, 4 * n)

    a.arguments(phi=PHI, features=T)
    a.srli(T, T, 2)
    a.loopnez(T, name + " block")
    products(UNROLL)
    a.label(name + " block")
    a.arguments(features=T)
    a.extui(T, T, 0, 2)
    a.loopnez(T, name + " rest")
    products(1)
    a.label(name + " rest")
