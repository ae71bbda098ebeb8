from ... import checks, signals
from ...kernels import cache
from ..parameter import Parameter


class Conv1D:
    # Convolution [length, channels] -> [positions, filters], as attention takes it, of weight
    # [filters, kernel_size, channels]; positions = (length + 2*padding - kernel_size)//stride + 1.
    # The windows are strides: nothing is copied, but x between zeros where there is padding.

    def __init__(self, f, name, length, kernel_size, stride, filters, bias=True, asked=True,
                 channels=1, padding=0):
        checks.between(name + ".padding", padding, 0, 1 << 15)
        whole = length + 2 * padding
        checks.between(name + ".kernel_size", kernel_size, 1, whole)
        checks.between(name + ".stride", stride, 1, whole)
        self.f = f
        self.name = name
        self.length = length
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.infers = {"kernel_size": kernel_size, "stride": stride, "channels": channels,
                       "padding": padding, "dilation": 1, "groups": 1}
        self.size = length * channels
        self.inputs = seen = kernel_size * channels
        self.outputs = self.filters = filters
        self.positions = n = (whole - kernel_size) // stride + 1
        self.weight = Parameter(f, name + ".weight", filters * seen)
        self.bias = Parameter(f, name + ".bias", filters) if bias else None
        step = stride * channels
        self._product = f.product(n, filters, seen, (step, 1), (seen, 1), (filters, 1), add=bias)
        self._product_weight = f.product(filters, seen, n, (1, filters), (1, step), (seen, 1),
                                         add=True)
        itemsize = signals.ITEMSIZES[f.typecode]
        self._before = padding * channels * itemsize
        self._bytes = self.size * itemsize
        self._padded = f.zeros(whole * channels) if padding else None
        self.x = None
        self.out = f.zeros(n * filters)
        self.dx = None
        if asked:
            self.dx = f.zeros(self.size)
            self._dpadded = f.zeros(whole * channels) if padding else self.dx
            self._product_x = f.product(n, seen, filters, (filters, 1), (1, seen), (step, 1),
                                        add=True)

    def heed(self, length):
        # Of a shorter input: so many positions, one at least
        return max(1, (length + 2 * self.padding - self.kernel_size) // self.stride + 1)

    def __call__(self, x):
        f = self.f
        self.x = f.accept(x, self.size, self.name)
        if self.padding:
            cache.copy(x, 0, self._padded, self._before, self._bytes)
            self.x = self._padded
        if self.bias:
            f.spread(self.bias.value, self.out, self.positions, self.filters)
        self._product(self.x, self.weight.value, self.out)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, self.positions * self.filters, self.name)
        self._product_weight(grad, self.x, self.weight.grad)
        if self.bias:
            f.column_sums(grad, self.bias.grad, self.positions, self.filters)
        if self.dx is not None:
            f.clear(self._dpadded, len(self._dpadded))
            self._product_x(grad, self.weight.value, self._dpadded)
            if self.padding:
                cache.copy(self._dpadded, self._before, self.dx, 0, self._bytes)
        return self.dx

    def collect_params(self):
        return [self.weight, self.bias] if self.bias else [self.weight]


    def measured(self):
        return [(self.name, self.out)]

    def requantize(self, r, fields, scale):
        if "format" in fields:
            return r.formatted(fields, {"weights": self.weight, "biases": self.bias})
        after = r.result(fields)
        r.linear(self, scale, after)
        return after


def build(f, entry, given):
    length, channels = entry.rows("length"), entry.size("channels", 1)
    for key in ("dilation", "groups"):
        n = entry.integer(key, 1)
        if n != 1:
            raise ValueError("%s.%s: expected 1 in a training, got %d" % (entry.name, key, n))
    entry.accept(("", given), "", length * channels)
    layer = Conv1D(f, entry.name, length, entry.size("kernel_size"), entry.size("stride"),
                   entry.size("filters"), entry.flag("bias", True), entry.asked, channels,
                   entry.integer("padding", 0))
    return layer, layer.positions * layer.filters
