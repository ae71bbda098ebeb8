from . import checks, signals
from .formats import Format, arithmetic


class QDense:
    # Fully connected layer in fixed point or floats (see formats): x [rows, inputs] -> [rows,
    # outputs] = x @ weights.T + biases. `weights` [outputs, inputs] and `biases` [outputs] are 0 at
    # first.

    def __init__(self, inputs, outputs, rows=1, format="Q16.16", rounding="nearest",
                 overflow="wrap", make=signals.make):
        checks.between("in_features", inputs, 1, 1 << 15)
        checks.between("out_features", outputs, 1, 1 << 15)
        checks.between("rows", rows, 1, 1 << 15)
        self.format = f = Format(format, rounding, overflow)
        self.inputs = inputs
        self.size = rows * inputs
        self.weights = f.zeros(outputs * inputs)
        self.biases = f.zeros(outputs)
        self.out = make(f.code, rows * outputs)
        self._plan = f.plan((rows, inputs, outputs), (inputs, 1), (1, inputs), 1, (outputs, 1))

    def __call__(self, x):
        f = self.format
        checks.values("x", x, self.size, False, f.code)
        checks.apart("x", x, self.size * f.itemsize, "out", self.out, len(self.out) * f.itemsize)
        f.matmul(x, f.acc, self.weights, self.biases, self.out, self._plan)
        return self.out

    def set_weight(self, row, column, value):
        checks.between("row", row, 0, len(self.biases) - 1)
        checks.between("column", column, 0, self.inputs - 1)
        self.weights[row * self.inputs + column] = self.format.encode("weight", value)

    def set_bias(self, index, value):
        checks.between("index", index, 0, len(self.biases) - 1)
        self.biases[index] = self.format.encode("bias", value)


def of_entry(entry, given, form, inputs, outputs, rows):
    # A dense of a model file that computes in this format
    entry.accept(given, form, rows * inputs)
    rounding, overflow = arithmetic(entry)
    layer = QDense(inputs, outputs, rows, form, rounding, overflow, entry.make)
    layer.format.fill(layer, entry, [outputs, inputs], [outputs])
    entry.gives(layer.format.code, layer.out)
    return layer, (form, len(layer.out))
