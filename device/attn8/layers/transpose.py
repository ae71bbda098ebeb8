from .. import checks, forms, signals


class Transpose:
    # [rows, columns] -> [columns, rows], int8 or int16

    def __init__(self, rows, columns, format="int8", name="transpose", make=signals.make):
        self.name = name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        self.columns = checks.between(name + ".columns", columns, 1, 1 << 15)
        self.format = signals.known(name + ".format", format)
        self._unit = signals.BYTES[format]
        self._swap_axes = forms.choose("swap_axes").swap_axes
        self.out = make(signals.CODES[format], rows * columns)

    def __call__(self, x):
        n = self.rows * self.columns
        signals.accept(self.name, self.format, x, n, self.out, n * self._unit)
        self._swap_axes(x, self.out, self.rows, self.columns, self._unit, self.rows)
        return self.out


def build(entry, given, need_weights):
    rows, columns = entry.size("rows"), entry.size("columns")
    form = entry.follow(given, rows * columns)
    layer = Transpose(rows, columns, form, entry.name, entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, given
