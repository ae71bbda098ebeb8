from array import array

from .. import checks
from ..kernels import pointwise


class MeanPool:
    # Mean over the tokens: int8 [seq_len, embed_dim] -> [embed_dim], requantised. mult and shift
    # stand for input scale / (seq_len * output scale).

    def __init__(self, seq_len, embed_dim, mult, shift):
        checks.between("mean_pool.seq_len", seq_len, 1, 1 << 15)
        checks.between("mean_pool.embed_dim", embed_dim, 1, 1 << 15)
        checks.multiplier("mean_pool", mult, shift)
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self.mult = mult
        self.shift = shift
        self.out = array("b", bytes(embed_dim))

    def __call__(self, x):
        size = self.seq_len * self.embed_dim
        checks.int8("mean_pool", x, size)
        checks.apart("mean_pool", x, size, "out", self.out, self.embed_dim)
        pointwise.mean_pool(x, 0, self.out, self.seq_len, self.embed_dim, self.mult, self.shift)
        return self.out


def build(entry, given, need_weights):
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    entry.accept(given, "int8", s * e)
    layer = MeanPool(s, e, entry.integer("mult"), entry.integer("shift"))
    entry.gives("b", layer.out)
    return layer, ("int8", e)
