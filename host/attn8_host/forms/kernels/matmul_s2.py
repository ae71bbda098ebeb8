"""int8 matrix product on an LX7 without MAC16: attn8/forms/viper/matmul.py says what it computes.

Three rows of x are packed, and meet four interleaved rows of weights at a time (see triples_s2.py).
Where there are fewer, or rows are long, eight outputs of one row are made at a time, so that a
value of x is loaded once for eight products; then four, then one.
"""

from ..mpy import S2Function
from . import triples_s2 as triples

PACKED = 512  # inputs whose packed rows have room
BLOCK = 64
SUMS = tuple(f"sum {i}" for i in range(12))
SPARE = {
    "matmul": (*SUMS, *triples.SPARE, "groups", "singles", "weights", "biases", "mults", "shifts",
               "out 0", "out 1", "out 2", "stride", "start", "row end"),
}


def interleave(a: S2Function) -> None:
    """Weights plus 128, in their place: of four rows the first values, then the second ones ...;
    rows beyond the last four as they lie.
    """
    w, inputs, outputs, flip, left, turns, to, x, t = range(2, 11)
    rows = (x, 12, 13, 14)
    a.arguments(w=w, inputs=inputs, outputs=outputs)
    a.movi(flip, 128)
    a.srli(left, outputs, 2)
    a.beqz(left, "groups done")
    a.label("group")
    a.arguments(room=to)
    a.mov(x, w)
    a.slli(turns, inputs, 2)
    a.label("copied")
    a.l8ui(t, x)
    a.addi(x, x, 1)
    a.xor(t, t, flip)
    a.s8i(t, to)
    a.addi(to, to, 1)
    a.addi(turns, turns, -1)
    a.bnez(turns, "copied")
    a.arguments(room=rows[0])
    for i in range(1, 4):
        a.add(rows[i], rows[i - 1], inputs)
    a.mov(turns, inputs)
    a.label("interleaved")
    for i, row in enumerate(rows):
        a.l8ui(t, row)
        a.addi(row, row, 1)
        a.s8i(t, w, i)
    a.addi(w, w, 4)
    a.addi(turns, turns, -1)
    a.bnez(turns, "interleaved")
    a.addi(left, left, -1)
    a.bnez(left, "group")
    a.label("groups done")
    a.extui(left, outputs, 0, 2)
    a.mull(left, left, inputs)
    a.beqz(left, "done")
    a.label("other rows")
    a.l8ui(t, w)
    a.xor(t, t, flip)
    a.s8i(t, w)
    a.addi(w, w, 1)
    a.addi(left, left, -1)
    a.bnez(left, "other rows")
    a.label("done")


def matmul(a: S2Function) -> None:
    """As in viper; and where `wide` is 2, int16, of three rows at a time alone (see `int16_rows` of
    the device's module): they are read before their results are written.
    """
    inputs, rows, t = range(2, 5)
    a.arguments(rows=rows, inputs=inputs)
    a.movi(t, 3)
    a.branch("lt", rows, t, "rows alone")
    a.movi(t, PACKED)
    a.branch("ge", t, inputs, "packed")
    a.label("rows alone")
    a.j("row by row")
    a.label("packed")
    three_rows(a)
    a.label("row by row")
    row_by_row(a)
    a.label("done")


def begin_outputs(a: S2Function) -> None:
    """Of a set of rows: how many groups of four outputs there are, and single ones; where weights
    and constants begin.
    """
    t, u = 2, 3
    a.arguments(outputs=t)
    a.srli(u, t, 2)
    a.keep(u, "groups")
    a.extui(t, t, 0, 2)
    a.keep(t, "singles")
    for name, kept in (("bias", "biases"), ("mult", "mults"), ("shift", "shifts"),
                       ("w", "weights")):
        a.argument(t, name)
        a.keep(t, kept)


def three_rows(a: S2Function) -> None:
    """All of the product, rows in threes: the last ones lap over those before where they do not
    divide.
    """
    stride, t, u, out = range(5, 9)
    a.arguments(inputs=2)
    triples.prepare(a, 2, BLOCK)
    # A row of results, of which one is 1, 4 or 2 bytes where `wide` is 0, 1 or 2
    a.arguments(outputs=stride, wide=t)
    a.beqz(t, "row of results")
    a.add(stride, stride, stride)
    a.addi(t, t, -1)
    a.bnez(t, "row of results")
    a.add(stride, stride, stride)
    a.label("row of results")
    a.keep(stride, "stride")
    a.label("three rows")
    a.arguments(rows=t, x=2, inputs=13, out=out, stride=stride)
    a.addi(t, t, -3)
    a.bgez(t, "three are left")
    a.mull(u, t, 13)
    a.add(2, 2, u)
    a.mull(u, t, stride)
    a.add(out, out, u)
    a.movi(t, 0)
    a.label("three are left")
    a.keep(t, "rows")
    for i in range(3):
        a.keep(out, f"out {i}")
        a.add(out, out, stride)
    a.keep(out, "out")
    a.add(3, 2, 13)
    a.add(4, 3, 13)
    triples.pack(a, 13, BLOCK)
    a.keep(4, "x")
    begin_outputs(a)
    count = 2

    def place(row: int, column: int) -> str:
        return SUMS[4 * row + column]

    def tile(columns: int) -> None:
        a.arguments(weights=triples.W)
        triples.tile(a, columns, BLOCK, lambda: None,
                     lambda register, row, i: a.argument(register, place(row, i)),
                     lambda register, row, i: a.keep(register, place(row, i)))
        a.keep(triples.W, "weights")
        a.movi(count, columns)

    a.label("outputs of three")
    a.arguments(groups=2)
    a.beqz(2, "single outputs")
    a.addi(2, 2, -1)
    a.keep(2, "groups")
    tile(4)
    a.j("finish three")
    a.label("single outputs")
    a.arguments(singles=2)
    a.beqz(2, "three done")
    a.addi(2, 2, -1)
    a.keep(2, "singles")
    tile(1)
    a.label("finish three")
    finish(a, "three", 3)
    a.j("outputs of three")
    a.label("three done")
    a.arguments(rows=2)
    a.beqz(2, "all rows done")
    a.j("three rows")
    a.label("all rows done")
    a.j("done")
    a.place_seldom()


def finish(a: S2Function, name: str, rows: int) -> None:
    """Results of one output after another, a2 of them, of the sums in the frame: of a row by
    itself int8, and with its bias already.

    2*acc * (mult << (32 - shift)) has in its high word twice the result, rounded down; of shifts
    beyond 32, 2*acc * mult has what is to be shifted further.
    """
    count, sums, bias, mult, shift, *outs = range(2, 10)
    outs, low, *values, m, t = outs[:rows], 10, *range(11, 11 + rows), 14, 15
    a.movi(sums, a.slots[SUMS[0]])
    a.add(sums, sums, 1)
    if rows == 3:
        a.arguments(biases=bias, wide=t)
    for i, out in enumerate(outs):
        a.argument(out, f"out {i}")

    def biased(twice: bool) -> None:
        if rows == 1:
            a.l32i(values[0], sums)
            a.add(values[0], values[0], values[0])
            return
        a.l32i(t, bias)
        for i, v in enumerate(values):
            a.l32i(v, sums, 16 * i)
        if twice:
            a.add(t, t, t)
        for v in values:
            (a.addx2 if twice else a.add)(v, v, t)

    def next_output(label: str, size: int) -> None:
        a.addi(sums, sums, 4)
        if rows == 3:
            a.addi(bias, bias, 4)
        for out in outs:
            a.addi(out, out, size)
        a.addi(count, count, -1)
        a.bnez(count, label)

    def settled(bits: int) -> None:
        label = f"{name}: int{bits}"
        a.movi(low, -1)
        a.slli(low, low, bits - 1)
        a.addi(low, low, 1)
        a.arguments(mults=mult, shifts=shift)
        a.label(label)
        a.l8ui(m, shift)
        biased(True)
        a.neg(t, m)
        a.l16ui(m, mult)
        a.addi(t, t, 32)
        a.bltz(t, label + ", far")
        a.ssl(t)
        a.sll(m, m)
        for v in values:
            a.mulsh(v, v, m)
        a.label(label + ", shifted")
        for v in values:
            a.addi(v, v, 1)
        for v in values:
            a.srai(v, v, 1)
        for v in values:
            a.clamps(v, v, bits - 1)
        for v in values:
            a.max(v, v, low)
        for v, out in zip(values, outs, strict=True):
            (a.s8i if bits == 8 else a.s16i)(v, out)
        a.addi(mult, mult, 2)
        a.addi(shift, shift, 1)
        next_output(label, bits // 8)
        a.keep(mult, "mults")
        a.keep(shift, "shifts")

        def far() -> None:
            a.label(label + ", far")
            a.neg(t, t)
            a.ssr(t)
            for v in values:
                a.mulsh(v, v, m)
            for v in values:
                a.sra(v, v)
            a.j(label + ", shifted")

        a.seldom(far)

    if rows == 3:
        a.bnez(t, name + ": wide")
    settled(8)
    if rows == 3:
        a.j(name + ": finished")
        a.label(name + ": wide")
        a.addi(t, t, -2)
        a.bnez(t, name + ": int32")
        settled(16)
        a.j(name + ": finished")
        a.label(name + ": int32")
        biased(False)
        for v, out in zip(values, outs, strict=True):
            a.s32i(v, out)
        next_output(name + ": int32", 4)
        a.label(name + ": finished")
        a.keep(bias, "biases")
    for i, out in enumerate(outs):
        a.keep(out, f"out {i}")


# Register map of row by row: sums of eight outputs; a value of x; where x and two groups are
ACC = tuple(range(2, 10))
X, T, P, W, W2, T2 = range(10, 16)


def row_by_row(a: S2Function) -> None:
    """Rows of x as words in the room; `start` is -128 * their sum."""
    a.arguments(out=T)
    a.keep(T, "out 0")
    a.label("row")
    x, to, n, total, v = range(2, 7)
    a.arguments(x=x, row=to, inputs=n)
    a.movi(total, 0)
    a.label("widened")
    a.l8ui(v, x)
    a.addi(x, x, 1)
    a.sext(v, v, 7)
    a.s32i(v, to)
    a.add(total, total, v)
    a.addi(to, to, 4)
    a.addi(n, n, -1)
    a.bnez(n, "widened")
    a.keep(x, "x")
    a.keep(to, "row end")
    a.slli(total, total, 7)
    a.neg(total, total)
    a.keep(total, "start")
    begin_outputs(a)
    a.arguments(inputs=T, row=P)
    a.srli(T, T, 4)
    a.beqz(T, "outputs of one")
    a.slli(T, T, 6)
    a.add(T, T, P)
    a.keep(T, "at")  # where blocks of 16 end, of eight outputs
    a.label("eights of one")
    a.arguments(groups=T)
    a.addi(T, T, -2)
    a.bgez(T, "eight outputs")
    a.label("outputs of one")
    a.arguments(groups=T)
    a.addi(T, T, -1)
    a.bgez(T, "four outputs")
    a.arguments(singles=T)
    a.addi(T, T, -1)
    a.bgez(T, "single output")
    a.arguments(rows=T)
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row left")
    a.j("done")
    a.label("row left")
    a.j("row")
    a.label("single output")
    a.keep(T, "singles")
    outputs(a, 1)
    a.label("four outputs")
    a.keep(T, "groups")
    outputs(a, 4)
    a.label("eight outputs")
    a.keep(T, "groups")
    outputs(a, 8)
    a.label("finish one")
    finish(a, "one", 1)
    a.arguments(inputs=T)
    a.srli(T, T, 4)
    a.beqz(T, "inputs are few")
    a.j("eights of one")
    a.label("inputs are few")
    a.j("outputs of one")


def outputs(a: S2Function, n: int) -> None:
    """The sums of n outputs of one row, 8, 4 or 1, with their biases; 8 of 16 inputs or more."""
    name = f"{n} of one"
    unroll = {8: 16, 4: 8, 1: 8}[n]
    step = min(n, 4)
    a.arguments(biases=P, start=X, inputs=T, weights=W)
    for i, acc in enumerate(ACC[:n]):
        a.l32i(acc, P, 4 * i)
    a.addi(P, P, 4 * n)
    a.keep(P, "biases")
    for acc in ACC[:n]:
        a.add(acc, acc, X)
    a.arguments(row=P)
    if n == 8:
        a.addx4(W2, T, W)
    else:
        bits = unroll.bit_length() - 1
        a.srli(T, T, bits)
        a.beqz(T, name + ", rest")
        a.slli(T, T, bits + 2)
        a.add(T, T, P)
        a.keep(T, "at")

    def products(count: int) -> None:
        # A weight is loaded before the product of the one before, into two registers in turn
        places = [(k, i) for k in range(count) for i in range(n)]

        def weight(k: int, i: int) -> None:
            a.l8ui((T, T2)[i & 1], W2 if i > 3 else W, step * k + i % 4)

        weight(0, 0)
        for here, (k, i) in enumerate(places):
            t = (T, T2)[i & 1]
            if i == 0:
                a.l32i(X, P, 4 * k)
            if n > 1 and here + 1 < len(places):
                weight(*places[here + 1])
            elif n == 1 and k:
                weight(k, 0)
            a.mull(t, t, X)
            a.add(ACC[i], ACC[i], t)
        a.addi(W, W, step * count)
        if n == 8:
            a.addi(W2, W2, step * count)
        a.addi(P, P, 4 * count)

    a.label(name + ", block")
    products(unroll)
    a.arguments(at=T)
    a.sub(T, P, T)
    a.bnez(T, name + ", block")
    a.label(name + ", rest")
    a.argument(T, "row end")
    a.branch("eq", P, T, name + ", done")
    a.label(name + ", one")
    products(1)
    a.argument(T, "row end")
    a.branch("ne", P, T, name + ", one")
    a.label(name + ", done")
    a.keep(W2 if n == 8 else W, "weights")
    a.arguments(wide=T)
    a.beqz(T, name + ", int8")
    a.argument(P, "out 0")
    for i, acc in enumerate(ACC[:n]):
        a.s32i(acc, P, 4 * i)
    a.addi(P, P, 4 * n)
    a.keep(P, "out 0")
    if n == 8:
        a.arguments(groups=T)
        a.addi(T, T, -2)
        a.bgez(T, "eight outputs")
    a.j("outputs of one")
    a.label(name + ", int8")
    for i, acc in enumerate(ACC[:n]):
        a.keep(acc, SUMS[i])
    a.movi(2, n)
    a.j("finish one")
