"""Attention with the vector instructions of ESP32-S3: keys and queries as matmul_simd has rows, and
all that follows the scores as on Xtensa. attn8/forms/viper/attention.py says what each kernel
computes.
"""

from ..mpy import XtensaFunction
from .attention_xtensa import (
    SPARE,
    attend_with,
    first_row,
    mask_keys,
    mask_rest,
    mask_row,
    pack_values,
    softmax,
    weighted_sum,
)
from .matmul_simd import Q_W, UNIT, align, copy_row, dot, round_up

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


def attend(a: XtensaFunction) -> None:
    attend_with(a, query_bytes, attend_scores)


def query_bytes(a: XtensaFunction, n: int) -> None:
    """n = what a query of n dimensions takes, wherever the room starts."""
    round_up(a, n)
    a.addi(n, n, 2 * UNIT)


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
