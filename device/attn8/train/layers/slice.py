from ... import checks, signals
from ...kernels import cache


class Slice:
    # `rows` of the tokens of [seq_len, embed_dim] from `start`, each `step`th

    READS = ()

    def __init__(self, f, name, seq_len, embed_dim, start, rows, step=1):
        checks.between(name + ".start", start, 0, seq_len - 1)
        checks.between(name + ".step", step, 1, 1 << 15)
        checks.between(name + ".rows", rows, 1, (seq_len - 1 - start) // step + 1)
        self.f = f
        self.name = name
        self.size = seq_len * embed_dim
        self.rows = rows
        self.infers = {"start": start, "rows": rows, "step": step}
        self._bytes = embed_dim * signals.ITEMSIZES[f.typecode]
        self._start = start * self._bytes
        self._step = step * self._bytes
        self.out = f.room("out", rows * embed_dim)
        self.dx = f.room("dx", self.size)

    def __call__(self, x):
        self.f.accept(x, self.size, self.name)
        for i in range(self.rows):
            cache.copy(x, self._start + i * self._step, self.out, i * self._bytes, self._bytes)
        return self.out

    def backward(self, grad):
        self.f.accept(grad, len(self.out), self.name)
        self.f.clear(self.dx, self.size)
        for i in range(self.rows):
            cache.copy(grad, i * self._bytes, self.dx, self._start + i * self._step, self._bytes)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return scale


def build(f, entry, given):
    s, e, rows = entry.size("seq_len"), entry.size("embed_dim"), entry.size("rows")
    entry.accept(("", given), "", s * e)
    layer = Slice(f, entry.name, s, e, entry.integer("start"), rows, entry.integer("step", 1))
    return layer, rows * e
