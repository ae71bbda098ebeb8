INPUTS = 2
TOKENWISE = True


class Add:
    # What both inputs give, added: `size` values

    PASSES = OVER = True
    READS = ()

    def __init__(self, f, name, size):
        self.f = f
        self.name = name
        self.size = size
        self.out = f.room("out", size)
        self._grads = [None, None]

    def __call__(self, a, b):
        f = self.f
        f.add(f.accept(a, self.size, self.name), f.accept(b, self.size, self.name), self.out,
              self.size)
        return self.out

    def backward(self, grad):
        self._grads[0] = self._grads[1] = self.f.accept(grad, self.size, self.name)
        return self._grads

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return r.stream(fields)


def build(f, entry, given, other):
    entry.accept(("", other), "", given)
    return Add(f, entry.name, given), given
