from ... import signals
from ...kernels import cache


class ClassToken:
    # weight [embed_dim] in front of [seq_len, embed_dim]

    READS = ()
    DIRECT = True

    def __init__(self, f, name, seq_len, embed_dim):
        self.f = f
        self.name = name
        self.embed_dim = embed_dim
        self.size = n = seq_len * embed_dim
        self.weight = f.parameter(name + ".weight", embed_dim)
        size = signals.ITEMSIZES[f.typecode]
        self._token, self._bytes = size * embed_dim, size * n
        self.out = f.room("out", n + embed_dim)
        self.dx = f.room("dx", n)

    def heed(self, length):
        return length + 1

    def __call__(self, x):
        self.f.accept(x, self.size, self.name)
        cache.copy(self.weight.value, 0, self.out, 0, self._token)
        cache.copy(x, 0, self.out, self._token, self._bytes)
        return self.out

    def backward(self, grad):
        f, total = self.f, self.weight.begin()
        f.accept(grad, self.size + self.embed_dim, self.name)
        f.add(total, grad, total, self.embed_dim)
        self.weight.end()
        cache.copy(grad, self._token, self.dx, 0, self._bytes)
        return self.dx

    def collect_params(self):
        return [self.weight]

    def requantize(self, r, fields, scale):
        return r.stream_tensor(fields, self.weight)


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return ClassToken(f, entry.name, s, e), s * e + e
