"""Attention of one token to a cache on RV32IM, of int8 or int16: attn8/forms/viper/decode8.py and
decode16.py say what they compute. `wide` is whether it is int16.

Eight dimensions at a time: scores keep eight values of a query in registers while keys go by, and
weighted sums have a register for each. Two heads share what is loaded of keys and values, where
registers hold both queries: of eight dimensions. Scores of a group of heads, one or two, lie by
turns. Values of int16 are taken of two slots at a time; where a second one is wanted, its weight is
a zero behind the others.
"""

from collections.abc import Callable, Sequence

from ..mpy import Rv32Function
from ..rv32 import (
    A0,
    A1,
    A2,
    A3,
    A4,
    A5,
    A6,
    A7,
    RA,
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S9,
    S10,
    S11,
    T0,
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    ZERO,
)
from .common_rv32 import clear, reciprocal, requantize

SPARE = ("size", "left", "group", "head_row", "largest", "other", "total", "other_total")
EIGHT = 8  # dimensions
ONE = (S2, S3, S4, S5, S6, S7, S8, S9)
TWO = (A4, A5, A6, A7, T3, T4, T5, T6)


def attend(a: Rv32Function, wide: bool) -> None:
    t, u, v, w = A0, A1, A2, A3
    a.arguments(kv_heads=t, head_dim=u)
    a.mul(t, t, u)
    if wide:
        a.slli(t, t, 1)
    a.keep(t, "size")  # from one slot to the next
    a.label("keys")
    a.arguments(heads=t, kv_heads=u)
    a.divu(t, t, u)
    a.keep(t, "left")  # heads of queries to one of keys and values
    a.label("group")
    a.arguments(left=t, head_dim=u, row=v)
    a.keep(v, "head_row")
    a.li(w, 1)
    a.beq(t, w, "one")
    a.li(w, EIGHT)
    a.beq(u, w, "two")
    a.label("one")
    group(a, w, 1)
    one_scores(a, wide)
    softmax(a, 1, wide)
    weighted(a, 1, wide)
    a.j("next")
    a.label("two")
    group(a, w, 2)
    two_scores(a, wide)
    a.label("both")
    softmax(a, 2, wide)
    a.arguments(group=t, head_row=u, other=v, total=w)
    a.addi(t, t, -1)
    a.beq(t, ZERO, "both done")
    a.keep(t, "group")
    a.addi(u, u, 4)
    a.keep(u, "head_row")
    a.keep(v, "largest")
    a.keep(w, "other_total")
    a.j("both")
    a.label("both done")
    weighted(a, 2, wide)
    a.label("next")
    a.arguments(left=t)
    a.bne(t, ZERO, "group")
    a.arguments(keys=t, values=u, head_dim=v)
    if wide:
        a.slli(v, v, 1)
    a.add(t, t, v)
    a.keep(t, "keys")
    if wide:
        a.slli(v, v, 2)
    a.add(u, u, v)
    a.keep(u, "values")
    a.arguments(acc=v, kv_heads=w)
    a.addi(v, v, 1)
    a.keep(v, "acc")
    if not wide:
        a.arguments(key_steps=t, value_steps=u)
        for step, name in (t, "key_steps"), (u, "value_steps"):
            a.addi(step, step, 1)
            a.keep(step, name)
    a.bne(v, w, "keys")  # acc, 0 at first, counts heads of keys


def group(a: Rv32Function, t: int, heads: int) -> None:
    a.li(t, heads)
    a.keep(t, "group")
    a.arguments(left=t)
    a.addi(t, t, -heads)
    a.keep(t, "left")


def load(a: Rv32Function, wide: bool, to: int, i: int, source: int) -> None:
    """The value in place i of a row."""
    if wide:
        a.lh(to, 2 * i, source)
    else:
        a.lb(to, i, source)


def two_scores(a: Rv32Function, wide: bool) -> None:
    """Scores of two heads of eight dimensions."""
    k, steps, out, end, size, kv, largest, other = A0, A1, A2, A3, S0, S1, S10, S11
    value, t, one, two = RA, T0, T1, T2
    a.arguments(q=t)
    for i in range(EIGHT):
        a.lh(ONE[i], 2 * i, t)
        a.lh(TWO[i], 2 * (EIGHT + i), t)
    a.arguments(keys=k, row=out, size=size, count=end)
    if not wide:
        a.arguments(key_steps=steps, kv_heads=kv)
    a.slli(end, end, 3)
    a.add(end, end, out)
    a.lui(largest, 0x80000)
    a.lui(other, 0x80000)
    a.label("two keys")
    for i in range(EIGHT):
        load(a, wide, value, i, k)
        if i == 0:
            a.mul(one, value, ONE[i])
            a.mul(two, value, TWO[i])
        else:
            a.mul(t, value, ONE[i])
            a.add(one, one, t)
            a.mul(value, value, TWO[i])
            a.add(two, two, value)
    a.add(k, k, size)
    if not wide:
        a.lbu(t, 0, steps)
        a.add(steps, steps, kv)
        a.mul(one, one, t)
        a.mul(two, two, t)
    a.sw(one, 0, out)
    a.sw(two, 4, out)
    a.addi(out, out, 8)
    new_largest(a, "one of two", largest, one)
    new_largest(a, "two of two", other, two)
    a.bne(out, end, "two keys")
    a.keep(largest, "largest")
    a.keep(other, "other")


def new_largest(a: Rv32Function, name: str, largest: int, x: int) -> None:
    """largest = max(largest, x), which is seldom x."""

    def larger() -> None:
        a.label(name + " is larger")
        a.mv(largest, x)
        a.j(name + " compared")

    a.blt(largest, x, name + " is larger")
    a.label(name + " compared")
    a.seldom(larger)


def one_scores(a: Rv32Function, wide: bool) -> None:
    """Scores of one head, of its first eight dimensions at first; those of the next ones are
    added."""
    k, steps, out, end, size, kv, largest, column, more = A0, A1, A2, A3, S0, S1, S10, A4, A5
    value, t, x = RA, T0, T1
    a.arguments(size=size)
    a.li(column, 0)
    a.label("one column")
    a.arguments(q=t, keys=k, row=out, count=end, head_dim=more)
    if not wide:
        a.arguments(key_steps=steps, kv_heads=kv)
    a.slli(x, column, 1)
    a.add(t, t, x)
    a.add(k, k, x if wide else column)
    for i in range(EIGHT):
        a.lh(ONE[i], 2 * i, t)
    a.slli(end, end, 2)
    a.add(end, end, out)
    a.lui(largest, 0x80000)
    a.addi(more, more, -EIGHT)
    a.sub(more, more, column)  # dimensions beyond these
    a.label("one key")
    a.li(x, 0)
    a.beq(column, ZERO, "first eight")
    a.lw(x, 0, out)
    a.label("first eight")
    for i in range(EIGHT):
        load(a, wide, value, i, k)
        a.mul(value, value, ONE[i])
        a.add(x, x, value)
    a.add(k, k, size)
    if not wide:
        a.bne(more, ZERO, "not whole")
        a.lbu(t, 0, steps)
        a.mul(x, x, t)
        a.label("not whole")
        a.add(steps, steps, kv)
    a.sw(x, 0, out)
    a.addi(out, out, 4)
    new_largest(a, "one", largest, x)
    a.bne(out, end, "one key")
    a.addi(column, column, EIGHT)
    a.blt(ZERO, more, "one column")
    a.keep(largest, "largest")


def softmax(a: Rv32Function, heads: int, wide: bool) -> None:
    """Weights, of int8 times steps, in the place of a head's scores, which lie by turns with those
    of so many heads; total = the sum of the weights."""
    name, stride = f"softmax {heads} ", 4 * heads
    n, table, mult, largest, end, total, x, y, t = A0, A1, A2, A3, A4, A5, A6, A7, T0
    below, far, shift, m, p = T1, T2, S0, S2, S3
    a.arguments(head_row=n, table=table, mult=mult, shift=shift, largest=largest, count=end)
    a.slli(mult, mult, 17)
    a.addi(shift, shift, -16)
    a.lui(far, 0x40)  # 2**18
    a.li(total, 0)

    def numerator(at: int, label: str) -> None:
        def beyond() -> None:
            a.label(label + "far")
            a.li(y, 0)
            a.j(label + "near")

        a.lw(x, at, n)
        a.sub(x, largest, x)
        a.mulhu(x, x, mult)
        a.sra(x, x, shift)
        a.addi(x, x, 1)
        a.srai(x, x, 1)
        a.bgeu(x, far, label + "far")
        a.srli(t, x, 5)
        a.andi(t, t, 510)
        a.add(t, t, table)
        a.lhu(y, 0, t)
        a.lhu(below, 2, t)
        a.andi(t, x, 63)
        a.srli(x, x, 14)
        a.sub(below, y, below)
        a.mul(below, below, t)
        a.srai(below, below, 6)
        a.sub(y, y, below)
        a.srl(y, y, x)
        a.addi(y, y, 1)
        a.srli(y, y, 1)
        a.label(label + "near")
        a.seldom(beyond)
        a.sw(y, at, n)
        a.add(total, total, y)

    by_two(a, name + "numerator ", n, end, stride, numerator, t)
    a.lui(m, 0x3F000)  # 63 << 24
    reciprocal(a, m, p, total, t, name)
    a.addi(p, p, 15)
    a.li(y, 1)
    a.sll(y, y, p)
    a.srli(y, y, 1)  # half
    a.li(total, 0)
    steps, kv = table, mult
    a.arguments(head_row=n, count=end)
    if not wide:
        a.arguments(value_steps=steps, kv_heads=kv)

    def weight(at: int, _: str) -> None:
        a.lw(x, at, n)
        if not wide:
            a.lbu(t, 0, steps)
            a.add(steps, steps, kv)
        a.mul(x, x, m)
        a.add(x, x, y)
        a.sra(x, x, p)
        a.add(total, total, x)
        if not wide:
            a.mul(x, x, t)
        a.sw(x, at, n)

    by_two(a, name + "weight ", n, end, stride, weight, t)
    if wide:
        a.sw(ZERO, 0, n)
    a.keep(total, "total")


def by_two(
    a: Rv32Function, name: str, n: int, end: int, stride: int, body: Callable[[int, str], None],
    t: int,
) -> None:
    """`body` for each of `end` words from n on, so many bytes apart: one where they are odd, and
    then two at a time. n and end become where they end.

    Args:
        name: a prefix for labels.
        body: gets the place of its word, counted from n, and a prefix for labels.
        t: a register.
    """
    a.andi(t, end, 1)
    a.slli(end, end, stride.bit_length() - 1)
    a.add(end, end, n)
    a.beq(t, ZERO, name + "even")
    body(0, name + "odd ")
    a.addi(n, n, stride)
    a.label(name + "even")
    a.beq(n, end, name + "done")
    a.label(name + "two")
    body(0, name + "first ")
    body(stride, name + "second ")
    a.addi(n, n, 2 * stride)
    a.bne(n, end, name + "two")
    a.label(name + "done")


def weighted(a: Rv32Function, heads: int, wide: bool) -> None:
    """Eight dimensions at a time in the place of q, which moves behind the heads."""
    name = f"{heads} "
    values, weights, end, size, column, value, t = A0, A1, A2, A3, S0, S1, T0
    group, step = S10, S11
    weight = (T1, T2)[:heads]
    sums: Sequence[Sequence[int]] = (ONE, TWO)[:heads]
    a.li(column, 0)
    a.label(name + "column")
    a.arguments(values=values, row=weights, size=size, count=end)
    if wide:
        a.slli(t, column, 3)
    a.add(values, values, t if wide else column)
    for registers in sums:
        clear(a, registers)

    def slot(at: int, second: bool = False) -> None:
        for h, register in enumerate(weight):
            a.lw(register, at + 4 * h, weights)
        for i in range(EIGHT):
            load(a, wide, value, 4 * i + second if wide else i, values)
            for register, acc in zip(weight, [registers[i] for registers in sums], strict=True):
                a.mul(t, value, register)
                a.add(acc, acc, t)

    def narrow_slot(at: int, _: str) -> None:
        slot(at)
        a.add(values, values, size)

    if wide:
        stride = 4 * heads
        a.slli(group, size, 2)
        a.li(step, 4)  # to the other two slots of a group, and then to the next group
        a.addi(end, end, 1)
        a.srli(end, end, 1)
        a.slli(end, end, stride.bit_length())
        a.add(end, end, weights)
        a.label(name + "slots")
        slot(0)
        slot(stride, True)
        a.add(values, values, step)
        a.sub(step, group, step)
        a.addi(weights, weights, 2 * stride)
        a.bne(weights, end, name + "slots")
    else:
        by_two(a, name + "slot ", weights, end, 4 * heads, narrow_slot, t)
    out, m, shift, high, low, total = values, weights, end, size, value, RA
    a.arguments(q=out, out_shift=shift)
    a.addi(shift, shift, -16)
    a.lui(high, 8)
    a.addi(high, high, -1)
    a.sub(low, ZERO, high)
    for h, registers in enumerate(sums):
        a.arguments(num=m, **{("total", "other_total")[heads - 1 - h]: total})
        a.srli(t, total, 1)
        a.add(m, m, t)
        a.divu(m, m, total)
        for i, acc in enumerate(registers):
            requantize(a, f"{name}{h} {i}", acc, m, shift, high, low, t)
            a.sh(acc, 2 * i, out)
        a.addi(out, out, 2 * EIGHT)
    a.keep(out, "q")
    if heads == 1:
        a.arguments(head_dim=t)
        a.addi(column, column, EIGHT)
        a.blt(column, t, name + "column")
