"""Softmax attention on an LX7 without MAC16: attn8/forms/viper/attention.py says what each kernel
computes.

Keys and values are kept as themselves plus 128, as there is no load that extends a sign: four rows
of keys interleaved, and values by four columns. Three rows of scores are made at a time, as
triples_s2.py has them; weights are too wide for that, and two rows of them, interleaved behind the
values, share their loads with four columns, 2.75 instructions a product. Where a block has fewer
rows than are made at a time, one stands for another, and the same is written twice.
"""

from collections.abc import Callable, Mapping

from ..mpy import S2Function
from . import triples_s2 as triples
from .attention_xtensa import INDEX, mask_keys, scale_logarithms
from .common_xtensa import reciprocal, round_bit

__all__ = ["SPARE", "mask_keys", "pack_keys", "pack_values", "scores", "softmax", "weighted_sum"]

BLOCK = 63 & -triples.UNROLL  # values whose sums have 21 bits
SPARE = {
    "scores": (*triples.SPARE, "begun", "groups", "singles", "weights", "out 0", "out 1", "out 2",
               "masked"),
    "softmax": ("visible", "half", "down", "masked", "sums end", "eights", "rest"),
    "weighted_sum": ("pair", "column", "left", "column out", "out 1", "m 0", "m 1", "p 0", "p 1",
                     "start 0", "start 1", "end", "eights end"),
}


def pack_keys(a: S2Function) -> None:
    """packed = k + 128, of four keys the first values, then the second ones ...; sums are not
    needed.
    """
    k, packed, keys, head_dim, flip, left, turns, t = range(2, 10)
    rows = (10, 11, 12, 13)
    a.arguments(k=k, packed=packed, keys=keys, head_dim=head_dim)
    a.movi(flip, 128)
    a.srli(left, keys, 2)
    a.beqz(left, "groups done")
    a.label("group")
    for row, before in zip(rows, (k, *rows), strict=False):
        a.mov(row, before)
        if row != rows[0]:
            a.add(row, row, head_dim)
    a.add(k, rows[-1], head_dim)
    a.mov(turns, head_dim)
    a.label("value")
    for i, row in enumerate(rows):
        a.l8ui(t, row)
        a.addi(row, row, 1)
        a.xor(t, t, flip)
        a.s8i(t, packed, i)
    a.addi(packed, packed, 4)
    a.addi(turns, turns, -1)
    a.bnez(turns, "value")
    a.addi(left, left, -1)
    a.bnez(left, "group")
    a.label("groups done")
    a.extui(left, keys, 0, 2)
    a.mull(left, left, head_dim)
    a.beqz(left, "done")
    a.label("other keys")
    a.l8ui(t, k)
    a.addi(k, k, 1)
    a.xor(t, t, flip)
    a.s8i(t, packed)
    a.addi(packed, packed, 1)
    a.addi(left, left, -1)
    a.bnez(left, "other keys")
    a.label("done")


def pack_values(a: S2Function) -> None:
    """packed = v + 128, of four columns after others, the last of which are filled up with
    whatever is read behind them where they are fewer.
    """
    v, packed, keys, stride, left, at, turns, flip, t, columns = range(2, 12)
    a.arguments(v=v, packed=packed, keys=keys, head_dim=stride)
    a.movi(flip, 128)
    a.mov(left, stride)
    a.label("columns")
    a.mov(at, v)
    a.mov(turns, keys)
    a.movi(columns, 4)
    a.min(columns, columns, left)
    a.label("key")
    for i in range(4):
        if i:
            a.movi(t, i)
            a.branch("eq", columns, t, "fewer columns")
        a.l8ui(t, at, i)
        a.xor(t, t, flip)
        a.s8i(t, packed, i)
    a.label("fewer columns")
    a.add(at, at, stride)
    a.addi(packed, packed, 4)
    a.addi(turns, turns, -1)
    a.bnez(turns, "key")
    a.addi(v, v, 4)
    a.addi(left, left, -4)
    a.bgez(left, "more columns")
    a.j("done")
    a.label("more columns")
    a.bnez(left, "columns")
    a.label("done")


def scores(a: S2Function) -> None:
    head_dim, stride, t, u, first, out = 13, 5, 6, 7, 8, 9
    q = (2, 3, 4)
    a.arguments(head_dim=2)
    triples.prepare(a, 2, BLOCK)
    a.arguments(q=q[0], first=t, head_dim=head_dim)
    a.mull(t, t, head_dim)
    a.add(q[0], q[0], t)
    a.keep(q[0], "q")
    a.movi(t, 0)
    a.keep(t, "begun")
    a.label("three rows")
    a.arguments(q=q[0], out=out, keys=stride, rows=u, begun=t, first=first, head_dim=head_dim)
    a.slli(stride, stride, 2)
    a.addi(u, u, -3)
    a.keep(u, "rows")
    a.bgez(u, "three are left")
    a.beqz(t, "three are left")  # the three end with the last row
    a.add(first, first, u)
    a.mull(t, u, head_dim)
    a.add(q[0], q[0], t)
    a.mull(t, u, stride)
    a.add(out, out, t)
    a.movi(u, 0)
    a.label("three are left")
    a.movi(t, 1)
    a.keep(t, "begun")
    a.keep(out, "masked")
    a.keep(out, "out 0")
    for i in (1, 2):
        a.mov(q[i], q[i - 1])
        a.movi(t, i - 2)
        a.branch("lt", u, t, f"no row {i}")
        a.add(q[i], q[i], head_dim)
        a.add(out, out, stride)
        a.label(f"no row {i}")
        a.keep(out, f"out {i}")
    a.add(out, out, stride)
    a.keep(out, "out")
    a.keep(first, "first")
    triples.pack(a, head_dim, BLOCK)
    a.keep(q[2], "q")
    groups, singles, t, first, causal = range(2, 7)
    a.arguments(keys=t, k=7, causal=causal, first=first)
    a.keep(7, "weights")
    a.srli(groups, t, 2)
    a.extui(singles, t, 0, 2)
    a.beqz(causal, "all visible")
    a.addi(first, first, 3 + 3)  # what one of the three rows sees
    a.srli(first, first, 2)
    a.branch("lt", groups, first, "all visible")
    a.mov(groups, first)
    a.movi(singles, 0)
    a.label("all visible")
    a.keep(groups, "groups")
    a.keep(singles, "singles")
    outs = (triples.A, triples.B, triples.P)

    def targets() -> None:
        for i, register in enumerate(outs):
            a.argument(register, f"out {i}")

    def products(columns: int) -> None:
        a.arguments(weights=triples.W)
        triples.tile(a, columns, BLOCK, targets,
                     lambda register, row, i: a.l32i(register, outs[row], 4 * i),
                     lambda register, row, i: a.s32i(register, outs[row], 4 * i))
        a.keep(triples.W, "weights")
        for i, register in enumerate(outs):
            a.addi(register, register, 4 * columns)
            a.keep(register, f"out {i}")

    for columns, name in ((4, "groups"), (1, "singles")):
        a.label(f"{columns} keys")
        a.argument(2, name)
        a.addi(2, 2, -1)
        a.keep(2, name)
        a.bgez(2, f"{columns} keys are left")
        a.j(f"{columns} keys done")
        a.label(f"{columns} keys are left")
        products(columns)
        a.j(f"{columns} keys")
        a.place_seldom()
        a.label(f"{columns} keys done")
    # What a row does not see: a masked score, -2**30
    causal, first, begin, masked, stride, at, left, last, keys, t = range(2, 12)
    a.arguments(causal=causal, first=first, masked=begin, keys=keys, out=last)
    a.addi(t, first, 3)
    a.keep(t, "first")
    a.beqz(causal, "next rows")
    a.movi(masked, -1)
    a.slli(masked, masked, 30)
    a.slli(stride, keys, 2)
    a.label("mask row")
    a.addi(first, first, 1)
    a.sub(left, keys, first)
    a.addx4(at, first, begin)
    a.branch("ge", first, keys, "row is masked")
    a.label("mask")
    a.s32i(masked, at)
    a.addi(at, at, 4)
    a.addi(left, left, -1)
    a.bnez(left, "mask")
    a.label("row is masked")
    a.add(begin, begin, stride)
    a.branch("ne", begin, last, "mask row")
    a.label("next rows")
    a.arguments(rows=t)
    a.addi(t, t, -1)
    a.bltz(t, "done")
    a.j("three rows")
    a.label("done")


def softmax(a: S2Function) -> None:
    """A numerator comes of half - score*mult, a logarithm from bit INDEX on, as on LX6: fourteen
    instructions, and two for the largest score.
    """
    score, out, table, largest, mult, half, threshold, total, down, at, t = range(2, 13)
    scale_logarithms(a)
    a.movi(t, -1)
    a.slli(t, t, 30)
    a.keep(t, "masked")
    a.arguments(sums=at, rows=t)
    a.addx4(t, t, at)
    a.keep(t, "sums end")
    a.arguments(scores=score, out=out, table=table, mult=mult, down=down)
    a.arguments(first=at, causal=largest, keys=t)
    a.beqz(largest, "all visible")
    a.addi(t, at, 1)
    a.label("all visible")
    a.label("length")
    a.keep(t, "visible")
    a.srli(at, t, 3)
    a.keep(at, "eights")
    a.extui(at, t, 0, 3)
    a.keep(at, "rest")
    a.label("row")
    a.mov(at, score)
    a.l32i(largest, at)

    def compare(places: range) -> None:
        for start in places[::3]:
            values = [*zip((12, 13, 14), places[start : start + 3], strict=False)]
            for v, i in values:
                a.l32i(v, at, 4 * i)
            for v, _ in values:
                a.max(largest, largest, v)

    turns(a, "largest", {at: 4}, compare)
    a.arguments(half=half, limit=threshold, masked=t)
    a.mull(13, largest, mult)
    a.sub(threshold, largest, threshold)
    a.add(half, half, 13)
    a.branch("ne", largest, t, "some are shown")
    a.movi(13, -1)
    a.srli(threshold, 13, 1)  # no score is so large
    a.label("some are shown")
    a.movi(total, 0)
    a.beqz(down, "coarse")
    numerators(a, "fine", finer=True)
    a.j("numerators are there")
    a.label("coarse")
    numerators(a, "coarse", finer=False)
    a.label("numerators are there")
    a.argument(13, "sums end")
    a.arguments(sums=at, causal=t)
    a.s32i(total, at)
    a.addi(at, at, 4)
    a.sub(13, at, 13)
    a.keep(at, "sums")
    a.bnez(t, "what a row does not see")
    a.bnez(13, "row")
    a.j("rows done")
    a.label("what a row does not see")
    a.arguments(keys=at, visible=t)
    a.sub(at, at, t)
    a.addi(t, t, 1)
    a.beqz(at, "all are seen")
    a.addx4(score, at, score)
    a.movi(14, 0)
    a.label("not seen")
    a.s16i(14, out)
    a.addi(out, out, 2)
    a.addi(at, at, -1)
    a.bnez(at, "not seen")
    a.label("all are seen")
    a.bnez(13, "length")
    a.label("rows done")


def turns(
    a: S2Function, name: str, steps: Mapping[int, int], body: Callable[[range], None],
    before: Mapping[int, Callable[[], None]] | None = None,
) -> None:
    """`body` for the scores that a row sees, eight at a time and then one. `steps` are the bytes
    that a score takes, by pointer; a15 counts. `before` appends what stands right before the loop
    of so many scores, and is passed over.
    """
    turn = 15
    for count, turns_kept in ((8, "eights"), (1, "rest")):
        label = f"{name} by {count}"
        a.argument(turn, turns_kept)
        if before and count == 8:
            a.bnez(turn, label)
            a.j(label + " done")
        else:
            a.beqz(turn, label + " done")
            if before:
                a.j(label)
        if before:
            before[count]()
        a.label(label)
        body(range(count))
        for moved, step in steps.items():
            a.addi(moved, moved, count * step)
        a.addi(turn, turn, -1)
        a.bnez(turn, label)
        a.label(label + " done")


def numerators(a: S2Function, name: str, finer: bool) -> None:
    """The register map is that of `softmax`. As branches have no long reach, what a score takes
    that is far stands before a loop and in its midst.
    """
    score, out, table, _, mult, half, threshold, total, down = range(2, 11)
    pairs = ((11, 13), (12, 14))

    def far(label: str, count: int = 2) -> None:
        for i, (_, x) in enumerate(pairs[:count]):
            a.label(f"{label} far {i}")  # -1 gives 0
            a.movi(x, -1)
            a.j(f"{label} not far {i}")

    def pair(places: range, label: str) -> None:
        some = [(v, x, i) for (v, x), i in zip(pairs, places, strict=False)]
        for v, _, i in some:
            a.l32i(v, score, 4 * i)
        for v, x, _ in some:
            a.mull(x, v, mult)
        for _, x, _ in some:
            a.sub(x, half, x)
        if finer:
            a.ssr(down)
            for _, x, _ in some:
                a.srl(x, x)
        for n, (v, _, _) in enumerate(some):
            a.branch("lt", v, threshold, f"{label} far {n}")
            a.label(f"{label} not far {n}")
        for v, x, _ in some:
            a.extui(v, x, INDEX, 8)
        for v, _, _ in some:
            a.addx2(v, v, table)
        for v, _, _ in some:
            a.l16ui(v, v)
        for _, x, _ in some:
            a.extui(x, x, INDEX + 8, 5)
        for v, x, _ in some:
            a.ssr(x)
            a.srl(v, v)
        for v, _, _ in some:
            a.addi(v, v, 1)
        for v, _, _ in some:
            a.srli(v, v, 1)
        for v, _, i in some:
            a.s16i(v, out, 2 * i)
            a.add(total, total, v)

    def body(places: range) -> None:
        if len(places) == 1:
            pair(places, f"{name} last")
            return
        for i in range(4):
            pair(places[2 * i : 2 * i + 2], f"{name} {i}")
            if i == 1:
                a.j(f"{name} midst")
                far(f"{name} 1")
                far(f"{name} 2")
                a.label(f"{name} midst")

    def between() -> None:
        far(f"{name} 3")
        far(f"{name} last", 1)

    turns(a, name, {score: 4, out: 2}, body, {8: lambda: far(f"{name} 0"), 1: between})


def weighted_sum(a: S2Function) -> None:
    """Two rows after others; `pair` is where their weights are interleaved."""
    totals, w, v, t, pair, value = ((2, 3, 4, 5), (6, 7, 8, 9)), (10, 11), 12, 13, 14, 15
    keys, head_dim, size, out = range(2, 6)
    a.arguments(v=pair, keys=keys, head_dim=head_dim, first=t, out=out)
    a.addi(size, head_dim, 3)
    a.srli(size, size, 2)
    a.mull(size, size, keys)
    a.addx4(pair, size, pair)
    a.keep(pair, "pair")
    a.mull(t, t, head_dim)
    a.add(out, out, t)
    a.keep(out, "out")
    a.addx4(t, keys, pair)
    a.keep(t, "end")
    a.srli(t, keys, 3)
    a.slli(t, t, 5)
    a.add(t, t, pair)
    a.keep(t, "eights end")
    a.arguments(shift=t)
    a.addi(t, t, -16)
    a.keep(t, "shift")
    a.label("two rows")
    # Their weights, reciprocals and the sums that take 128 off again; the pointers move on
    rows, weights, sums, other, other_sums, step = range(2, 8)
    a.arguments(rows=rows, weights=weights, sums=sums, keys=step, out=v, head_dim=t)
    a.slli(step, step, 1)
    a.mov(other, weights)
    a.mov(other_sums, sums)
    a.mov(w[0], v)
    a.addi(rows, rows, -1)
    a.beqz(rows, "one row")
    a.add(other, weights, step)
    a.addi(other_sums, sums, 4)
    a.add(w[0], v, t)
    a.addi(rows, rows, -1)
    a.label("one row")
    a.keep(rows, "rows")
    a.keep(v, "column out")
    a.keep(w[0], "out 1")
    a.add(w[0], w[0], t)
    a.keep(w[0], "out")
    a.add(t, other, step)
    a.keep(t, "weights")
    a.addi(t, other_sums, 4)
    a.keep(t, "sums")
    a.arguments(keys=t, pair=pair)
    a.label("weights of two")
    a.l16ui(v, weights)
    a.l16ui(value, other)
    a.addi(weights, weights, 2)
    a.addi(other, other, 2)
    a.s16i(v, pair, 0)
    a.s16i(value, pair, 2)
    a.addi(pair, pair, 4)
    a.addi(t, t, -1)
    a.bnez(t, "weights of two")
    zero = 8
    a.movi(zero, 0)
    for i, place in enumerate((sums, other_sums)):
        m, p, total = 9, 10, 11
        a.arguments(num=m)
        a.l32i(total, place)
        a.slli(t, total, 7)
        a.neg(t, t)
        a.keep(t, f"start {i}")
        reciprocal(a, p, m, total, t, zero, f"{i} ")
        a.slli(m, m, 15)
        a.keep(m, f"m {i}")
        a.keep(p, f"p {i}")
    a.arguments(v=value, head_dim=t)
    a.keep(value, "column")
    a.keep(t, "left")
    a.label("four columns")
    a.arguments(pair=pair, column=value)
    for i, row in enumerate(totals):
        a.argument(row[0], f"start {i}")
        for acc in row[1:]:
            a.mov(acc, row[0])

    def products(n: int) -> None:
        for k in range(n):
            a.l8ui(v, value, 4 * k)
            for i in range(2):
                a.l16ui(w[i], pair, 4 * k + 2 * i)
            for column in range(4):
                if column:
                    a.l8ui(v, value, 4 * k + column)
                a.mull(t, w[0], v)
                a.mull(v, w[1], v)
                a.add(totals[0][column], totals[0][column], t)
                a.add(totals[1][column], totals[1][column], v)
        a.addi(value, value, 4 * n)
        a.addi(pair, pair, 4 * n)

    for n, end in ((8, "eights end"), (1, "end")):
        a.argument(t, end)
        a.sub(t, pair, t)
        a.beqz(t, f"keys by {n} done")
        a.label(f"keys by {n}")
        products(n)
        a.argument(t, end)
        a.sub(t, pair, t)
        a.bnez(t, f"keys by {n}")
        a.label(f"keys by {n} done")
    a.keep(value, "column")
    m, low, left, out = 10, 11, 14, 15
    a.movi(low, -127)
    a.arguments(left=left)
    for i, row in enumerate(totals):
        a.argument(t, f"p {i}")
        a.argument(m, f"m {i}")
        a.ssr(t)
        for acc in row:
            a.sra(acc, acc)
        for acc in row:
            a.slli(acc, acc, 2)
        for acc in row:
            a.mulsh(acc, acc, m)  # 15 bits less than the product
        a.arguments(shift=t)
        a.ssr(t)
        for acc in row:
            a.sra(acc, acc)
        a.argument(out, ("column out", "out 1")[i])
        for acc in row:
            round_bit(a, acc, low)
        for column, acc in enumerate(row):
            if column:
                a.movi(t, column)
                a.branch("eq", left, t, f"row {i} stored")
            a.s8i(acc, out, column)
        a.label(f"row {i} stored")
        a.addi(out, out, 4)
        a.keep(out, ("column out", "out 1")[i])
    a.addi(left, left, -4)
    a.keep(left, "left")
    a.bltz(left, "columns done")
    a.beqz(left, "columns done")
    a.j("four columns")
    a.label("columns done")
    a.arguments(rows=t)
    a.beqz(t, "done")
    a.j("two rows")
    a.label("done")
