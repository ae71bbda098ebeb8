from .. import checks, signals
from ..kernels import stream


class Position:
    # weight int16 [seq_len, embed_dim] is added to int16 of the same shape and scale

    def __init__(self, seq_len, embed_dim, weight, name="position"):
        self.name = name
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        self.size = seq_len * checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        self.weight = checks.values(name + ".weight", weight, self.size, False, "h")
        self.out = signals.zeros("int16", self.size)

    def __call__(self, x):
        n = self.size
        signals.accept(self.name, "int16", x, n, self.out, 2 * n)
        stream.add(x, 0, self.weight, self.out, n)
        return self.out


def build(entry, given, need_weights):
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    entry.accept(given, "int16", s * e)
    layer = Position(s, e, entry.tensor("weight", "h", [s, e]), entry.name)
    entry.gives("h", layer.out)
    return layer, given
