from .. import checks, signals
from ..kernels import cache


class Select:
    # The token `index` of [seq_len, embed_dim], from the end where negative; int8 or int16. With
    # `lengths` the end is that of the length that `heed` was given last.

    def __init__(self, seq_len, embed_dim, index, format="int8", name="select",
                 lengths=False, make=signals.make):
        self.name = name
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        checks.between(name + ".index", index, -seq_len, seq_len - 1)
        self.format = signals.known(name + ".format", format)
        self.size = seq_len * embed_dim
        self._bytes = embed_dim * signals.BYTES[format]
        self._start = index % seq_len * self._bytes
        self.out = make(signals.CODES[format], embed_dim)
        if lengths and index != -1:
            raise ValueError("%s.lengths: expected index -1, the last token, got %d"
                             % (name, index))
        self.seq_len = seq_len
        self.lengths = lengths

    def heed(self, length):
        if self.lengths:
            checks.between("length", length, 1, self.seq_len)
            self._start = (length - 1) * self._bytes

    def __call__(self, x):
        signals.accept(self.name, self.format, x, self.size, self.out, self._bytes)
        cache.copy(x, self._start, self.out, 0, self._bytes)
        return self.out


def build(entry, given, need_weights):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    form = entry.follow(given, s * e)
    layer = Select(s, e, entry.integer("index"), form, entry.name, entry.lengths(s), entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, (form, e)
