from .. import checks, forms, signals
from ..kernels import cache

TOKENWISE = True


class Position:
    # weight int16 [seq_len, embed_dim] is added to int16 of the same shape and scale; with `step`
    # to one token after another

    def __init__(self, seq_len, embed_dim, weight, name="position", step=False,
                 make=signals.make):
        self.name = name
        self.seq_len = checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        self.weight = checks.values(name + ".weight", weight, seq_len * embed_dim, False, "h")
        self.size = embed_dim if step else seq_len * embed_dim
        self.out = make("h", self.size, True)
        self._add = forms.choose("stream").add
        if step:
            self.length = 0  # tokens so far
            self._row = signals.make("h", embed_dim)

    def __call__(self, x):
        n = self.size
        signals.accept_over(self.name, "int16", x, n, self.out)
        self._add(x, 0, self.weight, self.out, n)
        return self.out

    def step(self, x):
        # The next token alone; a position made so has no other call
        n = self.size
        signals.accept(self.name, "int16", x, n, self.out, 2 * n)
        if self.length == self.seq_len:
            raise ValueError("%s: it has %d positions and all are taken; reset"
                             % (self.name, self.seq_len))
        cache.copy(self.weight, 2 * self.length * n, self._row, 0, 2 * n)
        self._add(x, 0, self._row, self.out, n)
        self.length += 1
        return self.out

    def reset(self):
        self.length = 0


def build(entry, given, need_weights):
    tokens, e = entry.rows("seq_len"), entry.size("embed_dim")
    s = entry.tokens if entry.step else tokens
    entry.accept(given, "int16", tokens * e)
    layer = Position(s, e, entry.tensor("weight", "h", [s, e]), entry.name, entry.step, entry.make)
    entry.gives("h", layer.out)
    return layer, given
