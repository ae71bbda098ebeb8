class MeanPool:
    # The mean over the tokens: [seq_len, embed_dim] -> [embed_dim]

    def __init__(self, f, name, seq_len, embed_dim):
        self.f = f
        self.name = name
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self._factor = f.factor(1, seq_len)
        self._zero = f.zeros(embed_dim)
        self.out = f.zeros(embed_dim)
        self._share = f.zeros(embed_dim)
        self.dx = f.zeros(seq_len * embed_dim)

    def __call__(self, x):
        f = self.f
        f.accept(x, self.seq_len * self.embed_dim, self.name)
        f.spread(self._zero, self.out, 1, self.embed_dim)
        f.column_sums(x, self.out, self.seq_len, self.embed_dim)
        f.scale(self.out, self.out, self.embed_dim, self._factor)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, self.embed_dim, self.name)
        f.scale(grad, self._share, self.embed_dim, self._factor)
        f.spread(self._share, self.dx, self.seq_len, self.embed_dim)
        return self.dx

    def collect_params(self):
        return []


    def measured(self):
        return [(self.name, self.out)]

    def requantize(self, r, fields, scale):
        from ...quantize import requant_constants

        after = r.scale(self.name)
        fields["mult"], fields["shift"] = requant_constants(scale / after / self.seq_len)
        return after


def build(f, entry, given):
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return MeanPool(f, entry.name, s, e), e
