"""Attention over listed pairs on RV32IM: attn8/kernels/sparse.py says what each kernel computes.

Keys and values stay int8. Sixteen dimensions are held in registers while the pairs of a row go by,
or 8, 4 or 1 where fewer are left.
"""

from ..mpy import Rv32Function
from ..rv32 import RA, S0, S1, S10, S11, T0, T1, T2, T3, T4, T5, T6, ZERO
from .common_rv32 import ROWS, SUMS, clamp, exp2, reciprocal

HELD = (*ROWS, *SUMS)
TILES = (16, 8, 4, 1)


def list_spans(a: Rv32Function) -> None:
    pairs, spans, counts, offsets, rows, n, key, end = ROWS
    begin, t = S0, S1
    a.arguments(pairs=pairs, spans=spans, counts=counts, offsets=offsets, first=t, rows=rows)
    a.slli(t, t, 1)
    a.add(offsets, offsets, t)
    a.lhu(t, 0, offsets)
    a.slli(t, t, 2)
    a.add(spans, spans, t)
    a.label("row")
    a.lhu(n, 2, offsets)
    a.lhu(t, 0, offsets)
    a.addi(offsets, offsets, 2)
    a.mv(begin, pairs)
    a.sub(n, n, t)
    a.beq(n, ZERO, "counted")
    a.label("span")
    a.lhu(key, 0, spans)
    a.lhu(end, 2, spans)
    a.addi(spans, spans, 4)
    a.label("key")
    a.sh(key, 0, pairs)
    a.addi(pairs, pairs, 4)
    a.addi(key, key, 1)
    a.bne(key, end, "key")
    a.addi(n, n, -1)
    a.bne(n, ZERO, "span")
    a.label("counted")
    count(a, pairs, begin, counts)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def count(a: Rv32Function, pairs: int, begin: int, counts: int) -> None:
    """counts[0] = pairs since `begin`; moves counts on."""
    a.sub(begin, pairs, begin)
    a.srli(begin, begin, 2)
    a.sh(begin, 0, counts)
    a.addi(counts, counts, 2)


def list_bits(a: Rv32Function) -> None:
    pairs, bits, counts, rows, stride, end, key, b = ROWS
    begin, t = S0, S1
    a.arguments(pairs=pairs, bits=bits, counts=counts, first=t, rows=rows, stride=stride)
    a.mul(t, t, stride)
    a.add(bits, bits, t)
    a.label("row")
    a.li(key, 0)
    a.add(end, bits, stride)
    a.mv(begin, pairs)
    a.label("byte")
    a.lbu(b, 0, bits)
    a.addi(bits, bits, 1)
    a.beq(b, ZERO, "next")
    for half in (0, 4):
        a.andi(t, b, 15 << half)
        a.beq(t, ZERO, f"no bit of {half}")
        for i in range(half, half + 4):
            a.andi(t, b, 1 << i)
            a.beq(t, ZERO, f"no bit {i}")
            a.addi(t, key, i)
            a.sh(t, 0, pairs)
            a.addi(pairs, pairs, 4)
            a.label(f"no bit {i}")
        a.label(f"no bit of {half}")
    a.label("next")
    a.addi(key, key, 8)
    a.bne(bits, end, "byte")
    count(a, pairs, begin, counts)
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def pack_keys(a: Rv32Function) -> None:
    """packed = k; sums are not needed."""
    a.argument(ROWS[0], "k")
    move(a)


def pack_values(a: Rv32Function) -> None:
    a.argument(ROWS[0], "v")
    move(a)


def move(a: Rv32Function) -> None:
    """keys * head_dim bytes from ROWS[0] to `packed`, in words where both places allow."""
    source, to, end, words, *held = ROWS
    t = T0
    a.arguments(packed=to, keys=end, head_dim=t)
    a.mul(end, end, t)
    a.or_(t, source, to)
    a.andi(t, t, 3)
    a.mv(words, source)
    a.bne(t, ZERO, "unaligned")
    a.andi(words, end, -4 * len(held))
    a.add(words, words, source)
    a.label("unaligned")
    a.add(end, end, source)
    a.beq(source, words, "rest")
    a.label("words")
    for i, word in enumerate(held):
        a.lw(word, 4 * i, source)
    for i, word in enumerate(held):
        a.sw(word, 4 * i, to)
    a.addi(source, source, 4 * len(held))
    a.addi(to, to, 4 * len(held))
    a.bne(source, words, "words")
    a.label("rest")
    a.beq(source, end, "moved")
    a.label("byte")
    a.lbu(t, 0, source)
    a.addi(source, source, 1)
    a.sb(t, 0, to)
    a.addi(to, to, 1)
    a.bne(source, end, "byte")
    a.label("moved")


def scores(a: Rv32Function) -> None:
    """The sums so far are in `out`; `so_far` is 0 for the first dimensions, then -1."""
    acc, t, pair, end, out, row = T0, T1, T2, T3, T4, T5
    head_dim, k, q, left, top, so_far = T6, S0, S1, S10, S11, RA
    a.arguments(q=q, first=t, head_dim=head_dim)
    a.mul(t, t, head_dim)
    a.add(q, q, t)
    a.label("row")
    a.arguments(k=k, pairs=pair, counts=t)
    a.lhu(end, 0, t)
    a.addi(t, t, 2)
    a.keep(t, "counts")
    a.slli(end, end, 2)
    a.add(end, end, pair)
    a.mv(left, head_dim)
    a.li(so_far, 0)
    for size in TILES:
        name = f"{size} dimensions"
        a.label(name)
        a.addi(left, left, -size)
        a.blt(left, ZERO, name + " done")
        for i, held in enumerate(HELD[:size]):
            a.lb(held, i, q)
        a.addi(q, q, size)
        a.arguments(pairs=pair, out=out)
        a.lui(top, 0x80000)
        a.beq(pair, end, name + " listed")
        a.label(name + " pair")
        a.lhu(row, 0, pair)
        a.lw(acc, 0, out)
        a.mul(row, row, head_dim)
        a.addi(pair, pair, 4)
        a.and_(acc, acc, so_far)
        a.add(row, row, k)
        for i, held in enumerate(HELD[:size]):
            a.lb(t, i, row)
            a.mul(t, t, held)
            a.add(acc, acc, t)
        a.sw(acc, 0, out)
        a.addi(out, out, 4)
        a.bge(top, acc, name + " not larger")
        a.mv(top, acc)
        a.label(name + " not larger")
        a.bne(pair, end, name + " pair")
        a.label(name + " listed")
        a.addi(k, k, size)
        a.li(so_far, -1)
        a.j(name)
        a.label(name + " done")
        a.addi(left, left, size)
    a.keep(pair, "pairs")
    a.keep(out, "out")
    a.arguments(largest=t, rows=left)
    a.sw(top, 0, t)
    a.addi(t, t, 4)
    a.keep(t, "largest")
    a.addi(left, left, -1)
    a.keep(left, "rows")
    a.bne(left, ZERO, "row")


def softmax(a: Rv32Function) -> None:
    score, pair, table, rows, mult, shift, limit, half = ROWS
    base, least, total, x, y, end, counts, largest = SUMS
    a.arguments(scores=score, pairs=pair, table=table, rows=rows, mult=mult, shift=shift)
    a.arguments(limit=limit, counts=counts, largest=largest)
    a.li(half, 1)
    a.sll(half, half, shift)
    a.srli(half, half, 1)
    a.label("row")
    a.lw(x, 0, largest)
    a.addi(largest, largest, 4)
    a.mul(base, x, mult)
    a.add(base, base, half)  # modulo 2**32
    a.sub(least, x, limit)
    a.lhu(end, 0, counts)
    a.addi(counts, counts, 2)
    a.slli(end, end, 2)
    a.add(end, end, pair)
    a.li(total, 0)
    a.beq(pair, end, "listed")
    a.label("numerator")
    a.lw(x, 0, score)
    a.addi(score, score, 4)
    a.li(y, 0)
    a.blt(x, least, "far")
    a.mul(x, x, mult)
    a.sub(x, base, x)
    a.sra(x, x, shift)
    exp2(a, y, x, table)
    a.label("far")
    a.sh(y, 2, pair)
    a.addi(pair, pair, 4)
    a.add(total, total, y)
    a.bne(pair, end, "numerator")
    a.label("listed")
    a.arguments(sums=x)
    a.sw(total, 0, x)
    a.addi(x, x, 4)
    a.keep(x, "sums")
    a.addi(rows, rows, -1)
    a.bne(rows, ZERO, "row")


def weighted_sum(a: Rv32Function) -> None:
    """`room` is not used."""
    weight, t, pair, end, out, row = T0, T1, T2, T3, T4, T5
    head_dim, v, left, m, p, low, high = T6, S0, S1, S10, S11, RA, T0
    a.arguments(out=out, first=t, head_dim=head_dim)
    a.mul(t, t, head_dim)
    a.add(out, out, t)
    a.li(low, -127)
    a.label("row")
    reciprocal(a, m, p)
    a.arguments(shift=t, v=v, counts=row, pairs=pair)
    a.li(left, 33)
    a.sub(t, left, t)
    a.sll(m, m, t)  # so that the high word of a product is shifted by shift - 1
    a.lhu(end, 0, row)
    a.addi(row, row, 2)
    a.keep(row, "counts")
    a.slli(end, end, 2)
    a.add(end, end, pair)
    a.mv(left, head_dim)
    for size in TILES:
        name = f"{size} columns"
        a.label(name)
        a.addi(left, left, -size)
        a.blt(left, ZERO, name + " done")
        a.arguments(pairs=pair)
        for held in HELD[:size]:
            a.li(held, 0)
        a.beq(pair, end, name + " listed")
        a.label(name + " pair")
        a.lhu(row, 0, pair)
        a.lhu(weight, 2, pair)
        a.mul(row, row, head_dim)
        a.addi(pair, pair, 4)
        a.add(row, row, v)
        for i, held in enumerate(HELD[:size]):
            a.lb(t, i, row)
            a.mul(t, t, weight)
            a.add(held, held, t)
        a.bne(pair, end, name + " pair")
        a.label(name + " listed")
        a.li(high, 127)
        for i, held in enumerate(HELD[:size]):
            a.sra(held, held, p)
            a.mulh(held, held, m)
            a.addi(held, held, 1)
            a.srai(held, held, 1)
            clamp(a, f"{name} {i}", held, high, low)
            a.sb(held, i, out)
        a.addi(out, out, size)
        a.addi(v, v, size)
        a.j(name)
        a.label(name + " done")
        a.addi(left, left, size)
    a.keep(pair, "pairs")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.keep(t, "rows")
    a.bne(t, ZERO, "row")
