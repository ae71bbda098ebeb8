TOKENWISE = True


class Position:
    # x + weight, both [seq_len, embed_dim]

    PASSES = True
    READS = ()
    DIRECT = True

    def __init__(self, f, name, size):
        self.f = f
        self.name = name
        self.size = size
        self.weight = f.parameter(name + ".weight", size)
        self.out = f.room("out", size)

    def __call__(self, x):
        f = self.f
        f.add(f.accept(x, self.size, self.name), self.weight.value, self.out, self.size)
        return self.out

    def backward(self, grad):
        f, total = self.f, self.weight.begin()
        f.add(total, f.accept(grad, self.size, self.name), total, self.size)
        self.weight.end()
        return grad

    def collect_params(self):
        return [self.weight]

    def requantize(self, r, fields, scale):
        return r.stream_tensor(fields, self.weight)


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return Position(f, entry.name, s * e), s * e
