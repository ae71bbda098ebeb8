from .. import checks, memory, signals, tables
from ..kernels import softmax

TOKENWISE = True
FORMATS = {"int8": ("b", 0), "int16": ("h", 1), "int32": ("i", 2)}  # typecode, log2 of the bytes


class Softmax:
    # Probabilities of a model's last results: [rows, columns] in int8, int16 or int32 -> uint16 in
    # Q15, each row's sum about 32768. mult and shift: see kernels/softmax.py; results that are more
    # than `limit` below the row's largest get 0.

    def __init__(self, rows, columns, mult, shift, limit, format="int8", name="softmax",
                 make=signals.make):
        self.name = name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        # The sum of a row stays below 2**30
        self.columns = checks.between(name + ".columns", columns, 1, (1 << 15) - 1)
        checks.between(name + ".mult", mult, 1, (1 << 30) - 1)
        checks.between(name + ".shift", shift, 1, 28)
        half = 1 << (shift - 1)
        most = min((1 << 31) - 1, (32 << (shift + 12)) - 1) - half
        checks.between(name + ".limit", limit, 0, min((1 << 30) - 1, most // mult))
        if format not in FORMATS:
            raise ValueError("%s.format: expected int8, int16 or int32, got %s" % (name, format))
        self.mult, self.shift, self.limit = mult, shift, limit
        self._code, self._wide = FORMATS[format]
        if make is signals.make:
            memory.require(name, 2 * rows * columns)
        self.out = make("H", rows * columns)

    def __call__(self, x):
        n = self.rows * self.columns
        checks.values(self.name, x, n, False, self._code)
        checks.apart(self.name, x, n << self._wide, "out", self.out, 2 * n)
        softmax.softmax(x, 0, self.out, tables.EXP2, self.rows, self.columns, self._wide,
                        self.mult, self.shift, self.limit)
        return self.out


def build(entry, given, need_weights):
    rows, columns = entry.rows("rows"), entry.size("columns")
    form = given[0] if given[0] in FORMATS else "int16"
    entry.accept(given, form, rows * columns)
    layer = Softmax(rows, columns, entry.integer("mult"), entry.integer("shift"),
                    entry.integer("limit"), form, entry.name, entry.make)
    entry.gives("H", layer.out)
    return layer, ("uint16", rows * columns)
