"""Softmax attention on RV32IM: attn8/forms/viper/attention.py says what each kernel computes.

Keys and values are kept as they are. Rows go in threes: of scores as triples_rv32.py has them, four
keys at a time; weights are too wide for that, and four columns of three rows share their loads.
The last three rows lap over those before; where a block has fewer than three, one stands for
another, and the same is written twice.
"""

from collections.abc import Callable

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
from . import triples_rv32 as triples
from .common_rv32 import clear, elements, reciprocal, settle

BLOCK = 63 & -triples.UNROLL  # values whose sums have 21 bits
OUTS = (A4, A5, A6)  # of three rows
SPARE = {
    "scores": (*triples.SPARE, "begun"),
    "weighted_sum": ("begun", "column", "left", "one",
                     *(f"{what} {i}" for what in ("m", "p") for i in range(3))),
}


def pack_keys(a: Rv32Function) -> None:
    """packed = k; sums are not needed."""
    copy(a, "k", "keys")


def pack_values(a: Rv32Function) -> None:
    """packed = v"""
    copy(a, "v", "keys")


def copy(a: Rv32Function, source: str, rows: str) -> None:
    """Rows of head_dim bytes, by words where both stand at one."""
    x, packed, n, words, t, u = A0, A1, A2, A3, A4, A5
    a.arguments(packed=packed, head_dim=t)
    a.argument(x, source)
    a.argument(n, rows)
    a.mul(n, n, t)
    a.or_(t, x, packed)
    a.andi(t, t, 3)
    a.li(words, 0)
    a.bne(t, ZERO, "bytes")
    a.srli(words, n, 2)
    a.andi(n, n, 3)

    def body(size: int) -> Callable[[range, str], None]:
        def move(places: range, _: str) -> None:
            values = [*zip((t, u), places, strict=False)]
            for v, i in values:
                (a.lw if size == 4 else a.lb)(v, size * i, x)
            for v, i in values:
                (a.sw if size == 4 else a.sb)(v, size * i, packed)

        return move

    a.label("bytes")
    elements(a, "word", words, A6, 8, {x: 4, packed: 4}, body(4))
    elements(a, "byte", n, A6, 8, {x: 1, packed: 1}, body(1))


def three(
    a: Rv32Function, of_rows: dict[tuple[int, ...], int], t: int, u: int
) -> None:
    """The next three rows of a block. `rows` of the frame, those left, becomes those left after
    these; where they are fewer than three and others were `begun` before, the three end with the
    last one, and `first`, the number of the first of them, moves back as well.

    Args:
        of_rows: pointers to three rows and the bytes from one to the next, all registers; the first
            pointer stands at the next row.
        t, u: two registers more.
    """
    a.arguments(rows=u, begun=t)
    a.addi(u, u, -3)
    a.keep(u, "rows")
    a.bge(u, ZERO, "three are left")
    a.beq(t, ZERO, "three are left")
    for pointers, step in of_rows.items():
        a.mul(t, u, step)
        a.add(pointers[0], pointers[0], t)
    a.arguments(first=t)
    a.add(t, t, u)
    a.keep(t, "first")
    a.li(u, 0)
    a.label("three are left")
    a.li(t, 1)
    a.keep(t, "begun")
    for i, least in ((1, -1), (2, 0)):  # rows left after three if there is a row i
        for pointers in of_rows:
            a.mv(pointers[i], pointers[i - 1])
        a.li(t, least)
        a.blt(u, t, f"no row {i}")
        for pointers, step in of_rows.items():
            a.add(pointers[i], pointers[i], step)
        a.label(f"no row {i}")


def scores(a: Rv32Function) -> None:
    w, left, head_dim, single, stride, begin = triples.W, S0, S1, S10, S11, A7
    t, u, row, last, masked = T2, T3, T4, T5, T6
    a.arguments(head_dim=head_dim, first=t, q=u)
    a.mul(t, t, head_dim)
    a.add(u, u, t)
    a.keep(u, "q")
    a.keep(ZERO, "begun")
    triples.prepare(a, head_dim, BLOCK)
    a.label("three rows")
    a.arguments(q=w[0], out=OUTS[0], keys=stride)
    a.slli(stride, stride, 2)
    three(a, {w[:3]: head_dim, OUTS: stride}, t, u)
    a.mv(begin, OUTS[0])
    a.add(t, OUTS[2], stride)
    a.keep(t, "out")
    triples.pack(a, head_dim)
    a.keep(w[2], "q")
    a.arguments(k=w[0], keys=left, causal=u, first=t)
    a.beq(u, ZERO, "four keys")
    a.addi(t, t, 3 + 3)  # of keys that one of three rows sees, a multiple of four
    a.andi(t, t, -4)
    a.bge(t, left, "four keys")
    a.mv(left, t)
    a.label("four keys")
    a.addi(left, left, -4)
    a.li(single, 0)
    a.bge(left, ZERO, "four are left")
    a.arguments(keys=t)
    a.addi(t, t, -4)
    a.blt(t, ZERO, "one key")
    a.mul(t, left, head_dim)
    a.add(w[0], w[0], t)
    a.slli(t, left, 2)
    for out in OUTS:
        a.add(out, out, t)
    a.li(left, 0)
    a.label("four are left")
    for i in range(1, 4):
        a.add(w[i], w[i - 1], head_dim)
    a.label("products")
    triples.tile(a, BLOCK)
    a.mv(w[0], w[3])
    for i, sums in enumerate(zip(triples.S_0, triples.S_1, triples.S_2, strict=True)):
        for s, out in zip(sums, OUTS, strict=True):
            a.sw(s, 4 * i, out)
        if not i:
            a.bne(single, ZERO, "one key done")
    for out in OUTS:
        a.addi(out, out, 16)
    a.label("next keys")
    a.blt(ZERO, left, "four keys")
    a.arguments(causal=u, first=row)
    a.beq(u, ZERO, "next rows")
    # What a row does not see: a masked score, -2**30
    a.lui(masked, 0xC0000)
    a.sub(last, OUTS[2], OUTS[0])
    a.add(last, last, begin)
    a.label("mask row")
    a.addi(row, row, 1)
    a.slli(t, row, 2)
    a.add(t, t, begin)
    a.add(begin, begin, stride)
    a.bgeu(t, begin, "row masked")
    a.label("mask")
    a.sw(masked, 0, t)
    a.addi(t, t, 4)
    a.bltu(t, begin, "mask")
    a.label("row masked")
    a.bgeu(last, begin, "mask row")
    a.label("next rows")
    a.arguments(rows=t, first=u)
    a.addi(u, u, 3)
    a.keep(u, "first")
    a.blt(ZERO, t, "three rows")
    a.j("done")
    # Of fewer than four keys: four times the same one
    a.label("one key")
    a.addi(left, left, 3)
    a.li(single, 1)
    for i in range(1, 4):
        a.mv(w[i], w[0])
    a.j("products")
    a.label("one key done")
    for out in OUTS:
        a.addi(out, out, 4)
    a.j("next keys")
    a.label("done")


def mask_keys(a: Rv32Function) -> None:
    score, mask, rows, keys, masked, n, m = A0, A1, A2, A3, A4, A5, A6
    a.arguments(scores=score, rows=rows, keys=keys)
    a.lui(masked, 0xC0000)
    a.label("row")
    a.arguments(mask=mask)
    a.mv(n, keys)
    a.label("key")
    a.lbu(m, 0, mask)
    a.beq(m, ZERO, "shown")
    a.sw(masked, 0, score)
    a.label("shown")
    a.addi(mask, mask, 1)
    a.addi(score, score, 4)
    a.addi(n, n, -1)
    a.bne(n, ZERO, "key")
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def softmax(a: Rv32Function) -> None:
    """A numerator comes of (largest*mult + half - score*mult) >> shift, 1/256 octaves: 14
    instructions, and two for the largest score.
    """
    score, out, table, visible, mult, top, place, octave = A0, A1, A2, A3, A4, A5, A6, A7
    least, total, largest, masked, limit, half = S0, S1, S2, S3, S4, S5
    at, unrolled, end, sums, rows, hidden = S6, S7, S8, S9, S10, S11
    x, y, u, unrolled_bytes, row_bytes, causal = T0, T1, T2, T3, T4, T5
    larger: list[tuple[str, int]] = []  # what is seldom needed stands behind the rest
    far: list[str] = []
    a.arguments(scores=score, out=out, table=table, keys=hidden, first=x, causal=causal)
    a.arguments(mult=mult, shift=place, limit=limit, sums=sums, rows=rows)
    a.mv(visible, hidden)
    a.beq(causal, ZERO, "all visible")
    a.addi(visible, x, 1)
    a.label("all visible")
    a.sub(hidden, hidden, visible)
    a.addi(octave, place, 8)
    a.addi(place, place, -1)  # entries of the table have two bytes
    a.li(half, 1)
    a.sll(half, half, place)
    a.li(x, 31)
    a.bge(x, octave, "no further")
    a.mv(octave, x)
    a.label("no further")
    a.lui(masked, 0xC0000)

    def compare(places: range, name: str) -> None:
        values = [*zip((x, y), places, strict=False)]
        for v, i in values:
            a.lw(v, 4 * i, at)
        for v, i in values:
            larger.append((f"{name} {i}", v))
            a.blt(largest, v, f"{name} {i} is larger")
            a.label(f"{name} {i} compared")

    def numerators(places: range, name: str) -> None:
        values = [*zip((x, y), places, strict=False)]
        for v, i in values:
            a.lw(v, 4 * i, score)
        for v, i in values:
            far.append(f"{name} {i}")
            a.blt(v, least, f"{name} {i} is far")
            a.mul(v, v, mult)
            a.sub(v, top, v)
            a.sra(u, v, place)
            a.andi(u, u, 510)
            a.add(u, u, table)
            a.lhu(u, 0, u)
            a.sra(v, v, octave)
            a.srl(u, u, v)
            a.addi(u, u, 1)
            a.srli(u, u, 1)
            a.label(f"{name} {i} found")
            a.sh(u, 2 * i, out)
            a.add(total, total, u)

    def to_the_end(name: str, steps: dict[int, int], body: Callable[[range, str], None]) -> None:
        """`body` for the scores of a row, from the first pointer on, which four bytes are a step
        of, two of them in turn where there are two.
        """
        pointer = next(iter(steps))
        for size, stop in ((8, unrolled), (1, end)):
            label = f"{name} by {size}"
            a.beq(pointer, stop, label + " done")
            a.label(label)
            for i in range(0, size, 2):
                body(range(i, min(i + 2, size)), label)
            for moved, step in steps.items():
                a.addi(moved, moved, size * step)
            a.bne(pointer, stop, label)
            a.label(label + " done")

    a.label("length")
    a.slli(row_bytes, visible, 2)
    a.andi(unrolled_bytes, row_bytes, -32)
    a.label("row")
    a.add(unrolled, score, unrolled_bytes)
    a.add(end, score, row_bytes)
    a.mv(at, score)
    a.mv(largest, masked)
    to_the_end("score", {at: 4}, compare)
    a.li(total, 0)
    a.sub(least, largest, limit)
    a.mul(top, largest, mult)
    a.add(top, top, half)
    a.beq(largest, masked, "none is shown")
    a.label("some are shown")
    to_the_end("numerator", {score: 4, out: 2}, numerators)
    a.sw(total, 0, sums)
    a.addi(sums, sums, 4)
    a.addi(rows, rows, -1)
    a.bne(causal, ZERO, "mask")
    a.bne(rows, ZERO, "row")
    a.j("done")
    a.label("mask")
    a.mv(u, hidden)
    a.beq(u, ZERO, "masked")
    a.label("mask one")
    a.sh(ZERO, 0, out)
    a.addi(out, out, 2)
    a.addi(score, score, 4)
    a.addi(u, u, -1)
    a.bne(u, ZERO, "mask one")
    a.label("masked")
    a.addi(hidden, hidden, -1)
    a.addi(visible, visible, 1)
    a.bne(rows, ZERO, "length")
    a.j("done")
    a.label("none is shown")
    a.lui(least, 0x7FFFF)
    a.j("some are shown")
    for name, v in larger:
        a.label(f"{name} is larger")
        a.mv(largest, v)
        a.j(f"{name} compared")
    for name in far:
        a.label(f"{name} is far")
        a.li(u, 0)
        a.j(f"{name} found")
    a.label("done")


def weighted_sum(a: Rv32Function) -> None:
    """Two loads and a third of a product instead of four: (3 + 4 + 24) / 12 instructions."""
    sums = ((S2, S3, S4, S5), (S6, S7, S8, S9), (A0, A1, A2, A3))  # [row][column]
    weights, value, head_dim, outs = (A4, A5, A6), A7, S0, (S1, S10, S11)
    w, v, products, end, t, u = (T2, T3, T4), (T5, RA), (T6, T0), T1, T2, T3
    a.arguments(first=t, head_dim=head_dim, out=u, shift=T4)
    a.mul(t, t, head_dim)
    a.add(u, u, t)
    a.keep(u, "out")
    a.keep(ZERO, "begun")
    a.addi(T4, T4, -16)
    a.keep(T4, "shift")
    a.label("three rows")
    row_sums = (S2, S3, S4)
    a.arguments(weights=weights[0], out=outs[0], sums=row_sums[0], keys=T4)
    a.slli(T4, T4, 1)
    a.li(T5, 4)
    three(a, {weights: T4, outs: head_dim, row_sums: T5}, t, u)
    for pointers, step, name in ((weights, T4, "weights"), (outs, head_dim, "out"),
                                 (row_sums, T5, "sums")):
        a.add(t, pointers[2], step)
        a.keep(t, name)
    for i, place in enumerate(row_sums):
        m, p = S5, S6
        a.arguments(num=m)
        a.lw(S7, 0, place)
        reciprocal(a, m, p, total=S7, t=t, name=f"{i} ")
        a.slli(m, m, 16)
        a.keep(m, f"m {i}")
        a.keep(p, f"p {i}")
    a.arguments(v=t)
    a.keep(t, "column")
    a.keep(head_dim, "left")
    a.label("four columns")
    a.arguments(left=u, column=value, keys=end)
    a.addi(u, u, -4)
    a.keep(ZERO, "one")
    a.bge(u, ZERO, "four are left")
    a.addi(t, head_dim, -4)
    a.blt(t, ZERO, "one column")
    a.add(value, value, u)
    for out in outs:
        a.add(out, out, u)
    a.li(u, 0)
    a.label("four are left")
    a.keep(u, "left")
    a.addi(t, value, 4)
    a.keep(t, "column")
    a.label("products")
    a.andi(end, end, -4)
    a.slli(end, end, 1)
    a.add(end, end, weights[0])
    clear(a, [acc for row in sums for acc in row])

    def key(k: int) -> None:
        for register, place in zip(w, weights, strict=True):
            a.lhu(register, 2 * k, place)
        a.lb(v[0], 0, value)
        for column in range(4):
            if column < 3:
                a.lb(v[(column + 1) % 2], column + 1, value)
            else:
                a.add(value, value, head_dim)
            for row in range(3):
                product = products[row % 2]
                a.mul(product, w[row], v[column % 2])
                a.add(sums[row][column], sums[row][column], product)

    def advance(n: int) -> None:
        for place in weights:
            a.addi(place, place, 2 * n)

    a.beq(weights[0], end, "unrolled done")
    a.label("four keys")
    for k in range(4):
        key(k)
    advance(4)
    a.bne(weights[0], end, "four keys")
    a.label("unrolled done")
    a.arguments(keys=t)
    a.andi(t, t, 3)
    a.slli(t, t, 1)
    a.add(end, end, t)
    a.beq(weights[0], end, "keys done")
    a.label("one key")
    key(0)
    advance(1)
    a.bne(weights[0], end, "one key")
    a.label("keys done")
    a.arguments(keys=t)
    a.slli(t, t, 1)
    for place in weights:
        a.sub(place, place, t)
    low, high, shift, m, p, one = T0, T1, T3, T4, T5, T6
    a.li(low, -127)
    a.li(high, 127)
    a.arguments(shift=shift, one=one)
    for row, out in enumerate(outs):
        a.argument(m, f"m {row}")
        a.argument(p, f"p {row}")
        for column, acc in enumerate(sums[row]):
            a.sra(acc, acc, p)
            a.slli(acc, acc, 1)
            settle(a, f"{row}, {column}", acc, m, shift, high, low)
            a.sb(acc, column, out)
            if not column:
                a.bne(one, ZERO, f"row {row} done")
        a.addi(out, out, 3)
        a.label(f"row {row} done")
        a.addi(out, out, 1)
    a.arguments(left=t)
    a.blt(ZERO, t, "four columns")
    a.arguments(rows=t, first=u)
    a.addi(u, u, 3)
    a.keep(u, "first")
    a.blt(ZERO, t, "three rows")
    a.j("done")
    # Of fewer than four columns; what lies behind them is read and not used
    a.label("one column")
    a.addi(u, u, 3)
    a.keep(u, "left")
    a.addi(t, value, 1)
    a.keep(t, "column")
    a.li(t, 1)
    a.keep(t, "one")
    a.j("products")
    a.label("done")
