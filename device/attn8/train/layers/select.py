from ... import checks, signals
from ...kernels import cache


class Select:
    # The token `index` of [seq_len, embed_dim], from the end where negative; with `lengths` the
    # last one of the length that `heed` was given last

    READS = ()

    def __init__(self, f, name, seq_len, embed_dim, index, lengths=False):
        checks.between(name + ".index", index, -seq_len, seq_len - 1)
        if lengths and index != -1:
            raise ValueError("%s.lengths: expected index -1, the last token, got %d"
                             % (name, index))
        self.f = f
        self.name = name
        self.seq_len = seq_len
        self.size = seq_len * embed_dim
        self.lengths = lengths
        self.infers = {"index": index, "lengths": lengths}
        self._bytes = embed_dim * signals.ITEMSIZES[f.typecode]
        self._start = index % seq_len * self._bytes
        self.out = f.room("out", embed_dim)
        self.dx = f.room("dx", self.size)

    def heed(self, length):
        # -> None: there are no tokens any more
        if self.lengths:
            checks.between("length", length, 1, self.seq_len)
            self._start = (length - 1) * self._bytes

    def __call__(self, x):
        self.f.accept(x, self.size, self.name)
        cache.copy(x, self._start, self.out, 0, self._bytes)
        return self.out

    def backward(self, grad):
        self.f.accept(grad, len(self.out), self.name)
        self.f.clear(self.dx, self.size)
        cache.copy(grad, 0, self.dx, self._start, self._bytes)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return scale


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return Select(f, entry.name, s, e, entry.integer("index"), entry.lengths(s)), e
