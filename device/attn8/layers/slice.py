from .. import checks, signals
from ..kernels import cache


class Slice:
    # `rows` of the tokens of [seq_len, embed_dim] from `start`, each `step`th; int8 or int16

    def __init__(self, seq_len, embed_dim, start, rows, step=1, format="int8", name="slice",
                 make=signals.make):
        self.name = name
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        checks.between(name + ".start", start, 0, seq_len - 1)
        checks.between(name + ".step", step, 1, 1 << 15)
        checks.between(name + ".rows", rows, 1, (seq_len - 1 - start) // step + 1)
        self.format = signals.known(name + ".format", format)
        self.size = seq_len * embed_dim
        width = embed_dim * signals.BYTES[format]
        # In runs: all at once where they lie together
        self._runs, self._run = (1, rows * width) if step == 1 else (rows, width)
        self._start = start * width
        self._step = step * width
        self._bytes = rows * width
        self.out = make(signals.CODES[format], rows * embed_dim)

    def __call__(self, x):
        signals.accept(self.name, self.format, x, self.size, self.out, self._bytes)
        at = self._start
        for i in range(self._runs):
            cache.copy(x, at, self.out, i * self._run, self._run)
            at += self._step
        return self.out


def build(entry, given, need_weights):
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    rows = entry.size("rows")
    form = entry.follow(given, s * e)
    layer = Slice(s, e, entry.integer("start"), rows, entry.integer("step", 1), form, entry.name,
                  entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, (form, rows * e)
