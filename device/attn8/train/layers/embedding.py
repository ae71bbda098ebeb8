from ... import checks, signals
from ...kernels import cache

TOKENWISE = True


class Embedding:
    # Rows of weight [vocab_size, embed_dim], by whole numbers x [seq_len], which are no words but
    # token ids: -> [seq_len, embed_dim]
    # backward(grad) adds each token's row to that of its id in weight.grad, token by token

    READS = ("x",)
    DIRECT = True

    def __init__(self, f, name, seq_len, vocab_size, embed_dim):
        self.f = f
        self.name = name
        self.seq_len = seq_len
        self.vocab_size = self.outputs = vocab_size
        self.embed_dim = self.inputs = embed_dim
        self.infers = {"seq_len": seq_len, "vocab_size": vocab_size, "embed_dim": embed_dim}
        self.weight = f.parameter(name + ".weight", vocab_size * embed_dim)
        self.bias = None
        self._bytes = embed_dim * signals.ITEMSIZES[f.typecode]
        self.x = ()
        self.out = f.room("out", seq_len * embed_dim)
        self._row, self._other = f.room("back", embed_dim), f.room("back", embed_dim)

    def __call__(self, x):
        self.x = checks.values(self.name, x, self.seq_len, False, self.f.typecode)
        n = self._bytes
        for i in range(self.seq_len):
            if not 0 <= x[i] < self.vocab_size or x[i] % 1:
                raise ValueError("%s: token %d: expected 0 to %d, got %s"
                                 % (self.name, i, self.vocab_size - 1, x[i]))
            cache.copy(self.weight.value, int(x[i]) * n, self.out, i * n, n)
        return self.out

    def backward(self, grad):
        f, n, total = self.f, self._bytes, self.weight.begin()
        f.accept(grad, len(self.out), self.name)
        for i in range(self.seq_len):
            at = int(self.x[i]) * n
            cache.copy(total, at, self._row, 0, n)
            cache.copy(grad, i * n, self._other, 0, n)
            f.add(self._row, self._other, self._row, self.embed_dim)
            cache.copy(self._row, 0, total, at, n)
        self.weight.end()
        return grad

    def collect_params(self):
        return [self.weight]

    def measured(self):
        # All of its rows, whether an input has them or not
        return [(self.name, self.weight.value)]

    def requantize(self, r, fields, scale):
        after = r.result(fields)
        if fields.get("tied"):  # rows as those of a matrix, which takes ids << 9
            r.linear(self, 1 / 512, after)
            r.pair(self)
        else:
            code = signals.CODES[fields.get("output", "int8")]
            r.table(self.name, code, self.weight, after)
        return after


def build(f, entry, given):
    n, rows, e = entry.rows("seq_len"), entry.size("vocab_size"), entry.size("embed_dim")
    entry.accept(("", given), "", n)
    return Embedding(f, entry.name, n, rows, e), n * e
