"""Attention with the vector instructions of ESP32-S3: keys and queries as matmul_simd has rows,
numerators as on Xtensa. attn8/forms/viper/attention.py says what each kernel computes.

Numerators and values are int16 with their signs changed, as on Xtensa, in rows that start at
multiples of 16 bytes and are filled up with zeros to multiples of 8 values: 8 products are one
instruction. The largest sum, below 2**31, is exact in ACCX and its low word.
"""

from ..mpy import XtensaFunction
from .attention_xtensa import (
    ACC,
    END,
    GROUPS,
    ROW,
    SPARE,
    ZERO,
    T,
    V,
    Y,
    attend_with,
    first_row,
    mask_keys,
    mask_rest,
    mask_row,
    negated_row,
    pack_columns,
    row_reciprocal,
    softmax,
    weighted_sum_with,
)
from .common_xtensa import round_bit, row_bytes
from .matmul_simd import Q_W, Q_X, UNIT, align, copy_row, dot, round_up

LANES = 3  # 2**LANES values of int16 are a vector

__all__ = ["SPARE", "mask_keys", "pack_keys", "pack_values", "scores", "softmax", "weighted_sum"]


def pack_keys(a: XtensaFunction) -> None:
    """packed = k with rows as `dot` reads them; sums are not needed."""
    k, packed, keys, head_dim, stride, t, u = range(2, 9)
    a.arguments(k=k, packed=packed, keys=keys, head_dim=head_dim)
    round_up(a, packed)
    a.mov(stride, head_dim)
    round_up(a, stride)
    a.label("key")
    copy_row(a, k, packed, head_dim, t, u)
    a.add(packed, packed, stride)
    a.addi(keys, keys, -1)
    a.bnez(keys, "key")


def scores(a: XtensaFunction) -> None:
    k, q, row, out, blocks, head_dim, keys, visible, left, x, t, y = range(2, 14)
    a.arguments(rows=left, out=out)
    first_row(a, q, head_dim, keys, visible, t, y)
    a.mov(blocks, head_dim)
    round_up(a, blocks)
    a.srli(blocks, blocks, 4)
    a.label("row")
    a.arguments(row=row, k=k)
    a.mov(x, q)
    align(a, x, row, head_dim, t, y)
    a.add(q, q, head_dim)
    round_up(a, k)
    a.ee_vld_128_ip(Q_W, k, UNIT)
    a.mov(t, visible)
    a.mov(x, row)
    a.label("score")
    dot(a, k, x, blocks, "dot")
    a.addi(t, t, -1)
    a.mov(x, row)
    a.rur_accx_0(y)
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.bnez(t, "score")
    mask_rest(a, out, keys, visible, t, y)
    a.addi(left, left, -1)
    a.bnez(left, "row")


def pack_values(a: XtensaFunction) -> None:
    pack_columns(a, LANES, lambda packed: round_up(a, packed))


def weighted_sum(a: XtensaFunction) -> None:
    """Behind a row are the 16 bytes that the last load of a column reads."""

    def begin() -> None:
        round_up(a, V)
        a.arguments(keys=T)
        row_bytes(a, T, T, LANES)
        a.mull(ROW, T, END)
        a.add(ROW, ROW, V)
        negated_row(a)
        a.s32i(ZERO, T, 0)  # where groups of four are odd, the others of eight
        a.s32i(ZERO, T, 4)

    def product(name: str) -> None:
        a.addi(T, GROUPS, 1)
        a.srli(T, T, 1)
        dot16(a, V, ROW, Y, T, name)

    def read() -> None:
        a.nop()  # two instructions lie between the last product and this, as in matmul_simd
        a.nop()
        a.rur_accx_0(ACC)

    weighted_sum_with(a, begin, product, read)


def dot16(a: XtensaFunction, v: int, row: int, x: int, blocks: int, end: str) -> None:
    """ACCX = a column at v, which moves behind it, times the row of weights."""
    a.ee_zero_accx()
    a.mov(x, row)
    a.ee_vld_128_ip(Q_X, x, UNIT)
    a.loopnez(blocks, end)
    a.ee_vld_128_ip(Q_W, v, UNIT)
    a.ee_vmulas_s16_accx_ld_ip(Q_X, x, UNIT, Q_X, Q_W)
    a.label(end)


def attend(a: XtensaFunction) -> None:
    attend_with(a, behind_query, LANES, attend_scores, attend_values)


def behind_query(a: XtensaFunction, room: int, n: int) -> None:
    """The room behind a query of n dimensions, which starts at its first multiple of 16."""
    round_up(a, room)
    round_up(a, n)
    a.add(room, room, n)


def attend_scores(a: XtensaFunction) -> None:
    """The scores of what the row sees, and "largest"."""
    k, q, row, out, blocks, head_dim, visible, largest, x, t, y = range(2, 13)
    a.arguments(q=q, query=row, head_dim=head_dim, k=k, room=out, visible=visible)
    a.mov(blocks, head_dim)
    round_up(a, blocks)
    a.srli(blocks, blocks, 4)
    a.mov(x, q)
    align(a, x, row, head_dim, t, y)
    a.add(q, q, head_dim)
    a.keep(q, "q")
    round_up(a, k)
    a.ee_vld_128_ip(Q_W, k, UNIT)
    a.movi(largest, -1)
    a.slli(largest, largest, 30)  # a masked score, below all others
    a.mov(x, row)
    a.label("score")
    dot(a, k, x, blocks, "dot")
    a.addi(visible, visible, -1)
    a.mov(x, row)
    a.rur_accx_0(y)
    a.s32i(y, out)
    a.addi(out, out, 4)
    a.max(largest, largest, y)
    a.bnez(visible, "score")
    mask_row(a, largest)


def attend_values(a: XtensaFunction) -> None:
    m, _ = row_reciprocal(a)
    v, row, x, blocks, skip, out, end, low, acc = 2, 3, 5, 6, 7, 8, 9, 10, 11
    a.arguments(weights=row, groups=blocks, keys=skip, v=v, out=out, value_dim=end)
    round_up(a, v)
    row_bytes(a, skip, skip, LANES)
    a.slli(x, blocks, LANES + 1)
    a.sub(skip, skip, x)  # what of a column no weight meets
    a.addi(out, out, -1)
    a.add(end, end, out)
    a.movi(low, -127)
    a.label("column")
    dot16(a, v, row, x, blocks, "column dot")
    a.add(v, v, skip)
    a.addi(out, out, 1)
    a.rur_accx_0(acc)
    a.sra(acc, acc)
    a.mulsh(acc, acc, m)
    round_bit(a, acc, low)
    a.s8i(acc, out)
    a.branch("ne", out, end, "column")
    a.addi(out, out, 1)
    a.keep(out, "out")
