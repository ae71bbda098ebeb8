from array import array

from .. import checks, memory, signals
from ..kernels import embedding
from ..kernels.objects import part

TOKENWISE = True


class Embedding:
    # Rows of a table: int16 ids [seq_len], each from 0 to vocab_size - 1 -> [seq_len, embed_dim];
    # weight [vocab_size, embed_dim] in the format of the results, int8 or int16; or int8 with a
    # ratio each row, mult int16 and shift int8 [vocab_size], in pairs of rows if `paired` is 1

    def __init__(self, seq_len, vocab_size, embed_dim, weight, output="int8", name="embedding",
                 make=signals.make, mult=None, shift=None, paired=0):
        self.name = name
        self.seq_len = checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        self.vocab_size = checks.between(name + ".vocab_size", vocab_size, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        code = signals.CODES[signals.known(name + ".output", output)]
        self._stored = hasattr(weight, "load")  # it stays in the file, as do its ratios
        where = weight.memory() if self._stored else None
        if where is not None:
            weight, self._stored = where, False
        if not self._stored:
            checks.values(name + ".weight", weight, vocab_size * embed_dim, False,
                          code if mult is None else "b")
        self.weight = weight
        if mult is not None:
            mults, shifts = (mult.load(), shift.load()) if self._stored else (mult, shift)
            checks.values(name + ".mult", mults, vocab_size, False, "h")
            checks.values(name + ".shift", shifts, vocab_size)
            for j in range(vocab_size):
                checks.multiplier(name, mults[j], shifts[j])
        self._mult, self._shift = mult, shift
        # The last row of an odd number has none to lie beside
        self._paired = checks.between(name + ".paired", paired, 0, ~vocab_size & 1)
        if self._stored:
            n = 1 + paired
            room = memoryview(bytearray(n * (embed_dim + 3)))
            self._ratio, self._rows = [room[: 2 * n], room[2 * n : 3 * n]], room[3 * n :]
            self._first = array("h", [0])
            self._view = memoryview(b"")
        self._embed_dim, self._most = embed_dim, signals.MOST[output]
        self._row = embed_dim * signals.BYTES[output]
        if make is signals.make:
            memory.require(name, seq_len * self._row)
        self.out = make(code, seq_len * embed_dim)

    def __call__(self, x):
        n = self.seq_len
        checks.values(self.name, x, n, False, "h")
        checks.apart(self.name, x, 2 * n, "out", self.out, n * self._row)
        at = embedding.beyond(x, n, self.vocab_size)
        if at < n:
            raise ValueError("%s: token %d: expected 0 to %d, got %d"
                             % (self.name, at, self.vocab_size - 1, x[at]))
        if self._mult is None:
            embedding.embedding(x, self.weight, self.out, n, self._row)
        elif self._stored:
            self._read(x)
        else:
            embedding.tied(x, 0, self.weight, self._mult, self._shift, self.out, n, self._embed_dim,
                           self._most, self._paired)
        return self.out

    def _read(self, x):
        # Row by row from the file, or pair by pair
        e = self._embed_dim
        mult, shift = self._ratio
        source = self.weight.source
        out, n = self.out, self.seq_len
        for i in range(n):
            token = x[i]
            self._first[0] = token & self._paired
            token -= token & self._paired
            source.read(self._rows, self.weight.start + token * e)
            source.read(mult, self._mult.start + 2 * token)
            source.read(shift, self._shift.start + token)
            if n > 1:
                out = part(self._view, self.out, i * self._row, self._row)
            embedding.tied(self._first, 0, self._rows, mult, shift, out, 1, e, self._most,
                           self._paired)


def build(entry, given, need_weights):
    n, rows, e = entry.rows("seq_len"), entry.size("vocab_size"), entry.size("embed_dim")
    entry.accept(given, "tokens", n)
    output = entry.output()
    mult = shift = None
    paired = 0
    if entry.flag("tied", False):  # the weight is left for the tied_head
        from ..dense16 import in_pairs

        paired = in_pairs(entry, "", e, rows)
        shape = [rows >> 1, e, 2] if paired else [rows, e]
        entry.expect("weight", "b", shape)
        weight = entry.tensors.pop(entry.name + ".weight")
        entry.leave("weight", "b", shape, weight)
        take = entry.stored if hasattr(weight, "load") and weight.memory() is None else entry.tensor
        mult, shift = take("mult", "h", [rows]), take("shift", "b", [rows])
    else:
        weight = entry.tensor("weight", signals.CODES[output], [rows, e])
    layer = Embedding(n, rows, e, weight, output, entry.name, entry.make, mult, shift, paired)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, n * e)
