from .. import checks, signals
from ..kernels import cache


class ClassToken:
    # weight int16 [embed_dim] in front of int16 [seq_len, embed_dim]: [seq_len + 1, embed_dim]

    def __init__(self, seq_len, embed_dim, weight, name="class_token", make=signals.make):
        self.name = name
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        self.size = n = seq_len * embed_dim
        self.embed_dim = embed_dim
        self.weight = checks.values(name + ".weight", weight, embed_dim, False, "h")
        self.out = make("h", n + embed_dim)

    def __call__(self, x):
        signals.accept(self.name, "int16", x, self.size, self.out, 2 * (self.size + self.embed_dim))
        cache.copy(self.weight, 0, self.out, 0, 2 * self.embed_dim)
        cache.copy(x, 0, self.out, 2 * self.embed_dim, 2 * self.size)
        return self.out

    def heed(self, length):
        return length + 1


def build(entry, given, need_weights):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(given, "int16", s * e)
    layer = ClassToken(s, e, entry.tensor("weight", "h", [e]), entry.name, entry.make)
    entry.gives("h", layer.out)
    return layer, ("int16", s * e + e)
