from ... import signals
from ...kernels import cache

INPUTS = 2
TOKENWISE = True


class Concat:
    # [rows, n] and [rows, m] to [rows, n + m]; with one row tokens behind tokens

    READS = ()

    def __init__(self, f, name, rows, n, m):
        self.f = f
        self.name = name
        self.rows = rows
        self.infers = {"rows": rows}
        size = signals.ITEMSIZES[f.typecode]
        self._bytes = size * n, size * m
        self.out = f.room("out", rows * (n + m))
        self._grads = [f.room("dx", rows * n), f.room("dx", rows * m)]

    def __call__(self, a, b):
        f, (left, right) = self.f, self._bytes
        f.accept(a, len(self._grads[0]), self.name)
        f.accept(b, len(self._grads[1]), self.name)
        for i in range(self.rows):
            cache.copy(a, i * left, self.out, i * (left + right), left)
            cache.copy(b, i * right, self.out, i * (left + right) + left, right)
        return self.out

    def backward(self, grad):
        left, right = self._bytes
        self.f.accept(grad, len(self.out), self.name)
        for i in range(self.rows):
            cache.copy(grad, i * (left + right), self._grads[0], i * left, left)
            cache.copy(grad, i * (left + right) + left, self._grads[1], i * right, right)
        return self._grads

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return r.stream(fields)


def build(f, entry, given, other):
    rows = entry.rows("rows")
    for size in (given, other):
        if size % rows:
            raise ValueError("%s: takes rows of %d, the layer before gives %d values"
                             % (entry.name, rows, size))
    layer = Concat(f, entry.name, rows, given // rows, other // rows)
    return layer, given + other
