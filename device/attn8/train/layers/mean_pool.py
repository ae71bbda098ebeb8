from array import array

from ... import checks


class MeanPool:
    # The mean over the tokens: [seq_len, embed_dim] -> [embed_dim]; with `lengths` over the first
    # ones alone, as many as `heed` was given last

    READS = ()

    def __init__(self, f, name, seq_len, embed_dim, lengths=False):
        self.f = f
        self.name = name
        self.seq_len = self.length = seq_len
        self.embed_dim = embed_dim
        self.lengths = lengths
        self.infers = {"lengths": lengths}
        self._factors = [None] * seq_len  # of each length that was met
        self._factor = f.factor(1, seq_len)
        self.out = f.room("out", embed_dim)
        self._share = f.room("back", embed_dim)
        self.dx = f.room("dx", seq_len * embed_dim)

    def heed(self, length):
        # -> None: there are no tokens any more
        if self.lengths:
            self.length = checks.between("length", length, 1, self.seq_len)
            if not self._factors[length - 1]:
                self._factors[length - 1] = self.f.factor(1, length)
            self._factor = self._factors[length - 1]

    def __call__(self, x):
        f = self.f
        if x is not f.given:
            f.accept(x, self.seq_len * self.embed_dim, self.name)
        f.clear(self.out, self.embed_dim)
        f.column_sums(x, self.out, self.length, self.embed_dim)
        f.scale(self.out, self.out, self.embed_dim, self._factor)
        return self.out

    def backward(self, grad):
        f = self.f
        if grad is not f.given:
            f.accept(grad, self.embed_dim, self.name)
        f.scale(grad, self._share, self.embed_dim, self._factor)
        if self.length < self.seq_len:
            f.clear(self.dx, self.seq_len * self.embed_dim)
        f.spread(self._share, self.dx, self.length, self.embed_dim)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        if r.fixed(fields):
            return r.formatted(fields, {})
        if not self.lengths:
            share = scale / self.seq_len
            fields["scale"] = r.result(fields, None, share)
            r.constants(fields, share)
            return fields["scale"]
        from ...quantize import requant_constants

        after = r.result(fields)
        mults, shifts = array("h", bytes(2 * self.seq_len)), array("b", bytes(self.seq_len))
        room = 15  # bits by which a sum of n int16 can be shifted up
        for n in range(1, self.seq_len + 1):
            while n >> (15 - room):
                room -= 1
            mults[n - 1], shifts[n - 1] = requant_constants(scale / after / n / (1 << room))
        r.put(self.name, "mult", mults)
        r.put(self.name, "shift", shifts)
        return after


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return MeanPool(f, entry.name, s, e, entry.lengths(s)), e
