from ... import forms
from ...signals import ITEMSIZES


class Transpose:
    # [rows, columns] -> [columns, rows]

    def __init__(self, f, name, rows, columns):
        self.f = f
        self.name = name
        self.rows = rows
        self.columns = columns
        self.infers = {"rows": rows, "columns": columns}
        self._unit = ITEMSIZES[f.typecode]
        self._swap_axes = forms.choose("swap_axes").swap_axes
        self.out = f.zeros(rows * columns)
        self.dx = f.zeros(rows * columns)

    def __call__(self, x):
        self.f.accept(x, len(self.out), self.name)
        self._swap_axes(x, self.out, self.rows, self.columns, self._unit, self.rows)
        return self.out

    def backward(self, grad):
        self.f.accept(grad, len(self.out), self.name)
        self._swap_axes(grad, self.dx, self.columns, self.rows, self._unit, self.columns)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return scale


def build(f, entry, given):
    rows, columns = entry.size("rows"), entry.size("columns")
    entry.accept(("", given), "", rows * columns)
    return Transpose(f, entry.name, rows, columns), given
