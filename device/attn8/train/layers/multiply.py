INPUTS = 2
TOKENWISE = True


class Multiply:
    # What both inputs give, multiplied: `size` values

    READS = ("x",)

    def __init__(self, f, name, size):
        self.f = f
        self.name = name
        self.size = size
        self.p = f.pointwise()
        self.a = self.b = None
        self.out = f.room("out", size)
        self._grads = [f.room("dx", size), f.room("dx", size)]

    def __call__(self, a, b):
        self.a = self.f.accept(a, self.size, self.name)
        self.b = self.f.accept(b, self.size, self.name)
        self.p.multiply(a, b, self.out, 1, self.size)
        return self.out

    def backward(self, grad):
        self.f.accept(grad, self.size, self.name)
        self.p.multiply(grad, self.b, self._grads[0], 1, self.size)
        self.p.multiply(grad, self.a, self._grads[1], 1, self.size)
        return self._grads

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        product = scale * r.takes[1]
        fields["scale"] = r.result(fields, None, product)
        r.constants(fields, product)
        return fields["scale"]


def build(f, entry, given, other):
    entry.accept(("", other), "", given)
    return Multiply(f, entry.name, given), given
