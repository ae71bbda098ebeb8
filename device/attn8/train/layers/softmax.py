from ... import checks
from ...kernels import cache
from ...signals import ITEMSIZES

TOKENWISE = True


class Softmax:
    # The probabilities of each row of [rows, columns]

    def __init__(self, f, name, rows, columns):
        from ..arithmetic import MAX_COLUMNS

        self.f = f
        self.name = name
        self.rows = rows
        self.columns = checks.between(name + ".columns", columns, 1, MAX_COLUMNS)
        self._bytes = rows * columns * ITEMSIZES[f.typecode]
        self._scale = f.softmax_scale(1, 1)
        self.out = f.zeros(rows * columns)
        self.dx = f.zeros(rows * columns)

    def __call__(self, x):
        f = self.f
        f.accept(x, len(self.out), self.name)
        f.softmax(x, self.out, 0, self.rows, self.columns, self._scale)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, len(self.out), self.name)
        cache.copy(grad, 0, self.dx, 0, self._bytes)
        f.softmax_backward(self.out, 0, self.dx, self.rows, self.columns, self._scale)
        return self.dx

    def collect_params(self):
        return []

    def measured(self):
        return []

    def requantize(self, r, fields, scale):
        from ...quantize import softmax_constants

        fields["mult"], fields["shift"], fields["limit"] = softmax_constants(scale)
        return 1 / 32768


def follow(fields, scale):
    # Of the int8 form of one that a loss stands for
    from ...quantize import softmax_constants

    fields["mult"], fields["shift"], fields["limit"] = softmax_constants(scale)


def build(f, entry, given):
    rows, columns = entry.rows("rows"), entry.size("columns")
    entry.accept(("", given), "", rows * columns)
    return Softmax(f, entry.name, rows, columns), given
