from ... import checks
from ..parameter import Parameter


class Conv1D:
    # Convolution of one channel [length] -> [positions, filters], as attention takes it:
    # out[t, i] = sum_k x[t*stride + k]*weight[i, k] + bias[i], weight [filters, kernel_size],
    # positions = (length - kernel_size)//stride + 1. The windows are strides: nothing is copied.

    def __init__(self, f, name, length, kernel_size, stride, filters, bias=True,
                 asked=True):
        checks.between(name + ".kernel_size", kernel_size, 1, length)
        checks.between(name + ".stride", stride, 1, length)
        self.f = f
        self.name = name
        self.length = length
        self.inputs = kernel_size
        self.outputs = self.filters = filters
        self.positions = n = (length - kernel_size) // stride + 1
        self.weight = Parameter(f, name + ".weight", filters * kernel_size)
        self.bias = Parameter(f, name + ".bias", filters) if bias else None
        self._product = f.product(n, filters, kernel_size, (stride, 1), (kernel_size, 1),
                                  (filters, 1), add=bias)
        self._product_weight = f.product(filters, kernel_size, n, (1, filters), (1, stride),
                                         (kernel_size, 1), add=True)
        self.x = None
        self.out = f.zeros(n * filters)
        self.dx = None
        if asked:
            self.dx = f.zeros(length)
            self._product_x = f.product(n, kernel_size, filters, (filters, 1), (1, kernel_size),
                                        (stride, 1), add=True)

    def __call__(self, x):
        f = self.f
        self.x = f.accept(x, self.length, self.name)
        if self.bias:
            f.spread(self.bias.value, self.out, self.positions, self.filters)
        self._product(x, self.weight.value, self.out)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, self.positions * self.filters, self.name)
        self._product_weight(grad, self.x, self.weight.grad)
        if self.bias:
            f.column_sums(grad, self.bias.grad, self.positions, self.filters)
        if self.dx is not None:
            f.clear(self.dx, self.length)
            self._product_x(grad, self.weight.value, self.dx)
        return self.dx

    def collect_params(self):
        return [self.weight, self.bias] if self.bias else [self.weight]


    def measured(self):
        return [(self.name, self.out)]

    def requantize(self, r, fields, scale):
        if "format" in fields:
            return r.formatted(fields, {"weights": self.weight, "biases": self.bias})
        after = r.scale(self.name)
        r.linear(self, scale, after)
        return after


def build(f, entry, given):
    length = entry.size("length")
    entry.accept(("", given), "", length)
    layer = Conv1D(f, entry.name, length, entry.size("kernel_size"), entry.size("stride"),
                   entry.size("filters"), entry.flag("bias", True), entry.asked)
    return layer, layer.positions * layer.filters
