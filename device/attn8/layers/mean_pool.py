from .. import checks, signals
from ..kernels import pointwise


class MeanPool:
    # Mean over the tokens: [seq_len, embed_dim] -> [embed_dim], requantized; int8 or int16 both.
    # mult and shift stand for input scale / (seq_len * output scale).
    # With `lengths` it is the mean over the first tokens, as many as `heed` was given last; mult
    # int16 and shift int8 [seq_len] are those of each length, of sums that are shifted up.

    def __init__(self, seq_len, embed_dim, mult, shift, format="int8", output="int8",
                 lengths=False, make=signals.make):
        # The sums of int16 stay below 2**30
        name = "mean_pool"
        most = (1 << 15) - (format == "int16" or lengths)
        checks.between(name + ".seq_len", seq_len, 1, most)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        self.lengths = lengths
        self.length = seq_len
        if lengths:
            checks.values(name + ".mult", mult, seq_len, False, "h")
            checks.values(name + ".shift", shift, seq_len)
            for n in range(seq_len):
                checks.multiplier(name, mult[n], shift[n])
        else:
            checks.multiplier(name, mult, shift)
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self.mult = mult
        self.shift = shift
        self.format = signals.known(name + ".format", format)
        self.most = signals.MOST[signals.known(name + ".output", output)]
        self._stream = None
        if lengths:
            from ..kernels import mean

            self._mean = mean.mean
        elif format != "int8" or output != "int8":
            from ..kernels import pool

            self._stream = pool.mean_pool
        self.out = make(signals.CODES[output], embed_dim)
        self._bytes = embed_dim * signals.BYTES[output]

    def __call__(self, x):
        n, m = self.seq_len, self.embed_dim
        signals.accept("mean_pool", self.format, x, n * m, self.out, self._bytes)
        if self.lengths:
            at = self.length - 1
            self._mean(x, 0, self.out, at + 1, m, self.mult[at], self.shift[at],
                       self.format == "int16", self.most)
        elif self._stream:
            self._stream(x, 0, self.out, n, m, self.mult, self.shift, self.format == "int16",
                         self.most)
        else:
            pointwise.mean_pool(x, 0, self.out, n, m, self.mult, self.shift)
        return self.out

    def heed(self, length):
        if self.lengths:
            self.length = checks.between("length", length, 1, self.seq_len)


def build(entry, given, need_weights):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    form = entry.word("format", "int8")
    if form != "int8":
        from ..qmean_pool import of_entry

        return of_entry(entry, given, form, s, e)
    form, output = entry.follow(given, s * e), entry.output()
    if entry.lengths(s):
        mult, shift = entry.tensor("mult", "h", [s]), entry.tensor("shift", "b", [s])
        layer = MeanPool(s, e, mult, shift, form, output, True, entry.make)
    else:
        layer = MeanPool(s, e, entry.integer("mult"), entry.integer("shift"), form, output, False,
                         entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, e)
