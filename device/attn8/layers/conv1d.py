from array import array

from .. import checks, forms
from ..formats import Format, arithmetic
from ..kernels import conv1d as kernels
from .dense import Dense, Linear, expect


class Conv1D:
    # Convolution of one channel, int8 [length] -> [filters, positions], or [positions, filters]
    # where time_major, as attention takes it; positions = (length - kernel_size)//stride + 1.
    # linear holds the parameters, weight [filters, kernel_size] (see Dense); int8 results.

    def __init__(self, length, kernel_size, stride, filters, linear, time_major=False):
        self.positions = positions(length, kernel_size, stride)
        checks.kind("linear", linear, Linear)
        if (linear.inputs, linear.outputs) != (kernel_size, filters):
            raise ValueError("%s.weight: expected shape [%d, %d], got [%d, %d]" % (
                linear.name, filters, kernel_size, linear.outputs, linear.inputs))
        if linear.wide:
            raise ValueError("missing tensor %s.mult" % linear.name)
        self.length = length
        self.kernel_size = kernel_size
        self.stride = stride
        self.time_major = time_major
        self._windows = array("b", bytes(self.positions * kernel_size))
        self._dense = Dense(linear, self.positions)
        self._swap_axes = forms.choose("swap_axes").swap_axes
        self.out = self._dense.out if time_major else array("b", bytes(self.positions * filters))

    def __call__(self, x):
        linear = self._dense.linear
        checks.int8(linear.name, x, self.length)
        kernels.windows(x, self._windows, self.positions, self.kernel_size, self.stride)
        self._dense.run(self._windows)
        if not self.time_major:
            self._swap_axes(self._dense.out, self.out, self.positions, linear.outputs, 1)
        return self.out


class QConv1D:
    # The same in fixed point or floats (see formats). `weights` [filters, kernel_size] and
    # `biases` [filters] are 0 at first.

    def __init__(self, length, kernel_size, stride, filters, format="Q16.16", rounding="nearest",
                 overflow="wrap", time_major=False):
        self.positions = n = positions(length, kernel_size, stride)
        checks.between("filters", filters, 1, 1 << 12)
        self.format = f = Format(format, rounding, overflow)
        self.kernel_size = kernel_size
        self.weights = f.zeros(filters * kernel_size)
        self.biases = f.zeros(filters)
        self.x = f.zeros(length)
        self._x = memoryview(self.x)
        self.out = f.zeros(filters * n)
        self._plan = f.plan((n, kernel_size, filters), (stride, 1), (1, kernel_size), 1,
                            (filters, 1) if time_major else (1, n))

    def __call__(self, x):
        self.format.copy("x", x, self._x)
        self.format.matmul(self.x, 0, self.weights, self.biases, self.out, self._plan)
        return self.out

    def set_weight(self, filter, index, value):
        checks.between("filter", filter, 0, len(self.biases) - 1)
        checks.between("index", index, 0, self.kernel_size - 1)
        self.weights[filter * self.kernel_size + index] = self.format.encode("weight", value)

    def set_bias(self, filter, value):
        checks.between("filter", filter, 0, len(self.biases) - 1)
        self.biases[filter] = self.format.encode("bias", value)


def positions(length, kernel_size, stride):
    checks.between("length", length, 1, 1 << 15)
    checks.between("kernel_size", kernel_size, 1, min(length, checks.MAX_INPUTS))
    checks.between("stride", stride, 1, 1 << 15)
    return (length - kernel_size) // stride + 1


def build(entry, given, need_weights):
    # int8, or in the entry's format; always time-major
    length, kernel_size = entry.size("length"), entry.size("kernel_size")
    stride, filters = entry.size("stride"), entry.size("filters")
    sizes = length, kernel_size, stride, filters
    form = entry.word("format", "int8")
    entry.accept(given, form, length)
    if form != "int8":
        layer = QConv1D(*sizes, form, *arithmetic(entry), True)
        layer.format.fill(layer, entry, [filters, kernel_size], [filters])
        entry.gives(layer.format.code, layer.out)
        return layer, (form, len(layer.out))
    expect(entry, "", kernel_size, filters)
    layer = Conv1D(*sizes, Linear.take(entry.tensors, entry.name, kernel_size, filters), True)
    entry.gives("b", layer.out)
    return layer, (form, len(layer.out))
