TOKENWISE = True
PIECE = 256  # values of a weight whose gradient is there at a time, where it trains at once


class Dense:
    # out = x @ weight.T + bias over `rows` rows; weight [outputs, inputs], bias [outputs].
    # Without `bias` there is none. weight: a Parameter that another layer has as well.
    # backward(grad): weight.grad += grad.T @ x, bias.grad += sum of grad's rows, -> grad @ weight,
    # in `dx`: an array, by default one of its own, or None where nobody asks for it. `out`: the
    # array of the results, by default one of its own. wide: the int8 form of it takes int16
    # A large weight that trains as soon as it has gradients does so by columns: see direct.py.

    READS = ("x",)
    DIRECT = LATE = True
    wide = False

    def __init__(self, f, name, inputs, outputs, rows=1, bias=True, dx=True,
                 weight=None, out=None):
        self.f = f
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows
        columns = inputs
        if f.rooms and f.rooms.direct and f.typecode == "i" and not weight:
            columns = max(1, min(inputs, PIECE // outputs))
            while inputs % columns:
                columns -= 1
        self.weight = weight or f.parameter(name + ".weight", outputs * inputs, outputs * columns)
        self.bias = f.parameter(name + ".bias", outputs) if bias else None
        self._product = f.product(rows, outputs, inputs, (inputs, 1), (inputs, 1), (outputs, 1),
                                  add=bias)
        self.by_columns = None
        self.x = None
        self.out = f.room("out", rows * outputs) if out is None else out
        self.dx = f.room("dx", rows * inputs) if dx is True else dx
        if columns < inputs:
            from ..direct import Columns

            self.by_columns = Columns(f, self, columns)
            return
        self._product_weight = f.product(outputs, inputs, rows, (1, outputs), (1, inputs),
                                         (inputs, 1), add=True)
        if dx is not None:
            self._product_x = f.product(rows, inputs, outputs, (outputs, 1), (1, inputs),
                                        (inputs, 1))

    def __call__(self, x, again=False):
        # again: x is what the layer called before took, of the same shape
        f = self.f
        self.x = x
        if x is not f.given and not again:
            f.accept(x, self.rows * self.inputs, self.name)
        if self.bias:
            f.spread(self.bias.value, self.out, self.rows, self.outputs)
        self._product(x, self.weight.value, self.out, 0, 0, 0, again)
        return self.out

    def backward(self, grad):
        f, weight, bias = self.f, self.weight, self.bias
        if grad is not f.given:
            f.accept(grad, self.rows * self.outputs, self.name)
        direct = weight.direct  # without, what begins and ends is not called
        if bias:
            f.column_sums(grad, bias.begin() if direct else bias.grad, self.rows, self.outputs)
            if direct:
                bias.end()
        if self.by_columns:
            self.by_columns(f, grad, self.x, self.dx)
            return self.dx
        self._product_weight(grad, self.x, weight.begin() if direct else weight.grad)
        if self.dx is not None:
            self._product_x(grad, weight.value, self.dx)
        if direct:
            weight.end()
        return self.dx

    def collect_params(self):
        return [self.weight, self.bias] if self.bias else [self.weight]

    def requantize(self, r, fields, scale):
        if r.fixed(fields):
            return r.formatted(fields, {"weights": self.weight, "biases": self.bias})
        if fields.get("output") == "int32":
            after = r.linear(self, scale, None)
        else:
            after = r.result(fields, self, scale)
            r.linear(self, scale, after)
        if self.wide:
            r.pair(self)
        return after


def build(f, entry, given):
    n, m, rows = entry.size("in_features"), entry.size("out_features"), entry.rows("rows", 1)
    entry.accept(("", given), "", rows * n)
    layer = Dense(f, entry.name, n, m, rows, entry.flag("bias", True), entry.asked or None)
    layer.wide = entry.wide()
    return layer, rows * m
