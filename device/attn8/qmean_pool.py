from . import checks, signals
from .formats import Format


class QMeanPool:
    # Mean over the tokens in fixed point or floats (see formats): [seq_len, embed_dim] ->
    # [embed_dim]. Fixed point is the exact mean, rounded half up, and never overflows; floats are
    # added in turn. With `lengths` it is the mean over the first tokens, as many as `heed` was
    # given last.

    def __init__(self, seq_len, embed_dim, format="Q16.16", lengths=False, make=signals.make):
        self.lengths = lengths
        self.seq_len = self.length = checks.between("mean_pool.seq_len", seq_len, 1, 1 << 15)
        self.embed_dim = checks.between("mean_pool.embed_dim", embed_dim, 1, 1 << 15)
        self.format = f = Format(format)
        if f.frac:
            from .kernels.qmean import mean
        else:
            from .kernels.float import mean
        self._mean = mean
        self.out = make(f.code, embed_dim)

    def __call__(self, x):
        f = self.format
        m = self.embed_dim
        size = self.seq_len * m
        checks.values("mean_pool", x, size, False, f.code)
        checks.apart("mean_pool", x, size * f.itemsize, "out", self.out, m * f.itemsize)
        self._mean(x, f.acc, self.out, self.length, m, f.itemsize)
        return self.out

    def heed(self, length):
        if self.lengths:
            self.length = checks.between("length", length, 1, self.seq_len)


def of_entry(entry, given, form, seq_len, embed_dim):
    # A mean_pool of a model file that computes in this format
    entry.accept(given, form, seq_len * embed_dim)
    layer = QMeanPool(seq_len, embed_dim, form, entry.lengths(seq_len), entry.make)
    entry.gives(layer.format.code, layer.out)
    return layer, (form, embed_dim)
