from .. import checks, signals
from ..kernels import concat

INPUTS = 2
TOKENWISE = True


class Concat:
    # Each of `rows` rows of a with that of b behind it: int16 [rows, n] and [rows, m] of one scale
    # -> [rows, n + m]. One row puts tokens behind tokens, a row a token features behind features.

    def __init__(self, rows, n, m, name="concat", make=signals.make):
        self.name = name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        self.n = checks.between(name + ".features", n, 1, 1 << 15)
        self.m = checks.between(name + ".features", m, 1, 1 << 15)
        self.out = make("h", rows * (n + m))

    def __call__(self, a, b):
        rows, n, m = self.rows, self.n, self.m
        size = 2 * rows * (n + m)
        signals.accept(self.name, "int16", a, rows * n, self.out, size)
        signals.accept(self.name, "int16", b, rows * m, self.out, size)
        concat.concat(a, b, self.out, rows, 2 * n, 2 * m)
        return self.out


def build(entry, given, need_weights):
    rows = entry.rows("rows")
    n, m = [max(size // rows, 1) for _, size in given]
    entry.accept(given[0], "int16", rows * n)
    entry.accept(given[1], "int16", rows * m)
    layer = Concat(rows, n, m, entry.name, entry.make)
    entry.gives("h", layer.out)
    return layer, ("int16", len(layer.out))
