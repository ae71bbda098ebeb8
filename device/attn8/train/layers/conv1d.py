from ... import checks, signals
from ...kernels import cache


class Conv1D:
    # Convolution [length, channels] -> [positions, filters], as attention takes it, of weight
    # [filters, kernel_size, channels / groups], groups being 1 or channels;
    # positions = (length + 2*padding - dilation*(kernel_size - 1) - 1)//stride + 1.
    # Nothing is copied, but x between zeros where there is padding: a product takes its windows by
    # strides. One is enough where a window lies in one piece; with dilation there is one for each
    # tap, which adds to those before, with groups one for each channel. wide: as Dense has it.

    READS = ("x",)
    DIRECT = LATE = True
    wide = False

    def __init__(self, f, name, length, kernel_size, stride, filters, bias=True, asked=True,
                 channels=1, padding=0, dilation=1, groups=1):
        checks.between(name + ".padding", padding, 0, 1 << 15)
        whole = length + 2 * padding
        checks.between(name + ".dilation", dilation, 1, whole)
        checks.between(name + ".kernel_size", kernel_size, 1, (whole - 1) // dilation + 1)
        checks.between(name + ".stride", stride, 1, whole)
        if groups not in (1, channels) or filters % groups:
            raise ValueError("%s.groups: expected 1, or %d, as many as channels, and a multiple of "
                             "them as filters, got %d" % (name, channels, groups))
        self.f = f
        self.name = name
        self.length = length
        self.reach = dilation * (kernel_size - 1) + 1
        self.stride = stride
        self.padding = padding
        self.infers = {"kernel_size": kernel_size, "stride": stride, "channels": channels,
                       "padding": padding, "dilation": dilation, "groups": groups}
        self.size = length * channels
        self.inputs = seen = kernel_size * channels // groups
        self.outputs = self.filters = filters
        self.positions = n = (whole - self.reach) // stride + 1
        self.weight = f.parameter(name + ".weight", filters * seen)
        self.bias = f.parameter(name + ".bias", filters) if bias else None
        # Products, each of so many filters and values of a window, which are `apart` in x; from one
        # to the next, how far it is in x, in the weight and in the results
        cols, inner, apart = filters, seen, 1
        self._count, self._steps = 1, (0, 0, 0)
        if groups > 1 or channels == 1 and dilation > 1:
            cols, inner, apart = filters // groups, kernel_size, dilation * channels
            self._count, self._steps = groups, (1, cols * seen, cols)
        elif dilation > 1 and kernel_size > 1:
            inner = channels
            self._count, self._steps = kernel_size, (dilation * channels, channels, 0)
        self._adds = adds = self._count > 1 and groups == 1
        step = stride * channels
        self._product = f.product(n, cols, inner, (step, apart), (seen, 1), (filters, 1),
                                  add=bias or adds)
        self._product_weight = f.product(cols, inner, n, (1, filters), (apart, step), (seen, 1),
                                         add=True)
        itemsize = signals.ITEMSIZES[f.typecode]
        self._before = padding * channels * itemsize
        self._bytes = self.size * itemsize
        self._padded = f.zeros(whole * channels) if padding else None
        self.x = None
        self.out = f.room("out", n * filters)
        self.dx = None
        if asked:
            self.dx = f.room("dx", self.size)
            self._dpadded = f.room("back", whole * channels) if padding else self.dx
            self._product_x = f.product(n, inner, cols, (filters, 1), (1, seen), (step, apart),
                                        add=True)

    def heed(self, length):
        # Of a shorter input: so many positions, one at least
        return max(1, (length + 2 * self.padding - self.reach) // self.stride + 1)

    def __call__(self, x):
        f = self.f
        self.x = f.accept(x, self.size, self.name)
        if self.padding:
            cache.copy(x, 0, self._padded, self._before, self._bytes)
            self.x = self._padded
        if self.bias:
            f.spread(self.bias.value, self.out, self.positions, self.filters)
        elif self._adds:
            f.clear(self.out, len(self.out))
        a, b, c = self._steps
        for i in range(self._count):
            self._product(self.x, self.weight.value, self.out, i * a, i * b, i * c)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, self.positions * self.filters, self.name)
        a, b, c = self._steps
        total = self.weight.begin()
        for i in range(self._count):
            self._product_weight(grad, self.x, total, i * c, i * a, i * b,
                                 self._adds and i > 0)
        if self.bias:
            f.column_sums(grad, self.bias.begin(), self.positions, self.filters)
            self.bias.end()
        if self.dx is not None:
            f.clear(self._dpadded, len(self._dpadded))
            for i in range(self._count):
                self._product_x(grad, self.weight.value, self._dpadded, i * c, i * b, i * a,
                                self._adds and i > 0)
            if self.padding:
                cache.copy(self._dpadded, self._before, self.dx, 0, self._bytes)
        self.weight.end()
        return self.dx

    def collect_params(self):
        return [self.weight, self.bias] if self.bias else [self.weight]

    def requantize(self, r, fields, scale):
        if r.fixed(fields):
            return r.formatted(fields, {"weights": self.weight, "biases": self.bias})
        after = r.result(fields, self, scale)
        r.linear(self, scale, after)
        return after


def build(f, entry, given):
    length, channels = entry.rows("length"), entry.size("channels", 1)
    entry.accept(("", given), "", length * channels)
    layer = Conv1D(f, entry.name, length, entry.size("kernel_size"), entry.size("stride"),
                   entry.size("filters"), entry.flag("bias", True), entry.asked, channels,
                   entry.integer("padding", 0), entry.size("dilation", 1), entry.size("groups", 1))
    layer.wide = entry.wide()
    return layer, layer.positions * layer.filters
