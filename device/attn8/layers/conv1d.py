from .. import checks, forms, memory, signals
from ..formats import Format, arithmetic
from ..kernels import conv1d as kernels
from .dense import Dense, expect, kinds


class _Depthwise(Dense):
    # What Dense is where a filter sees all channels: int8 [rows, kernel_size, channels] -> [rows,
    # filters], where a filter sees the channel filter // (filters // channels) only

    def __init__(self, linear, rows, channels, make):
        super().__init__(linear, rows, None, make)
        self._channels = channels
        self._multiplier = linear.outputs // channels

    def product(self, x, out, rows):
        p = self.linear
        self._matmul(p.weight, 0, x, p.bias, p.mult, p.shift, out, rows, p.inputs,
                     self._channels, self._multiplier, p.wide)


class Conv1D:
    # Convolution, int8 or int16 (`format`) [length, channels] -> [filters, positions], or
    # [positions, filters] where time_major, as attention takes it; positions =
    # (length + 2*padding - reach)//stride + 1, where
    # reach = dilation*(kernel_size - 1) + 1. groups is 1, or channels (see _Depthwise). linear
    # holds the parameters, weight [filters, kernel_size, channels/groups] (see Dense), made with
    # form kernels.depthwise where groups is above 1; results int8, time-major ones perhaps int16.

    def __init__(self, length, kernel_size, stride, filters, linear, time_major=False, channels=1,
                 padding=0, dilation=1, groups=1, format="int8", make=signals.make):
        linear_kind, dense_kind = kinds(signals.known("format", format))
        self.positions = n = positions(length, kernel_size, stride, padding, dilation)
        checks.kind("linear", linear, linear_kind)
        seen = window(linear.name, kernel_size, filters, channels, groups)
        if (linear.inputs, linear.outputs) != (seen, filters):
            raise ValueError("%s.weight: expected shape [%d, %d], got [%d, %d]" % (
                linear.name, filters, seen, linear.outputs, linear.inputs))
        ratios = linear.ratios if format == "int8" else linear.output == "int16"
        if linear.wide and not ratios:
            raise ValueError("missing tensor %s.mult" % linear.name)
        if ratios and not time_major:
            raise ValueError("%s.output: int16 needs time_major" % linear.name)
        self.length = length
        self.channels = channels
        self._code = signals.CODES[format]
        self.unit = unit = signals.BYTES[format]
        self.stride = stride
        self.time_major = time_major
        # In bytes
        self._taps = kernel_size
        self._run = channels * unit
        self._skip = dilation * channels * unit
        if dilation == 1 and not padding:  # what a position sees lies in one piece
            self._taps = 1
            self._run = kernel_size * channels * unit
        self._start = -padding * channels * unit
        self._reach = dilation * (kernel_size - 1) + 1
        if make is signals.make:
            memory.require(linear.name, n * kernel_size * channels * unit)
        self._windows = make(self._code, n * kernel_size * channels)
        if groups > 1:
            if linear.form is not depthwise():
                raise ValueError("%s: groups need a Linear of the form kernels.depthwise"
                                 % linear.name)
            self._dense = _Depthwise(linear, n, channels, make)
        else:
            self._dense = dense_kind(linear, n, None, make)
        self.out = self._dense.out
        if not time_major:
            self._swap_axes = forms.choose("swap_axes").swap_axes
            self.out = make("b", n * filters)

    def __call__(self, x):
        linear = self._dense.linear
        size = self.length * self.channels
        unit = self.unit
        checks.values(linear.name, x, size, False, self._code)
        kernels.windows(x, self._windows, self.positions, self._taps, self._run,
                        self.stride * self.channels * unit, self._skip, self._start, size * unit)
        self._dense.run(self._windows)
        if not self.time_major:
            n = self.positions
            self._swap_axes(self._dense.out, self.out, n, linear.outputs, 1, n)
        return self.out

    def heed(self, length):
        # Of a shorter input: so many positions, one at least
        padding = -self._start // (self.channels * self.unit)
        return max(1, (length + 2 * padding - self._reach) // self.stride + 1)


class QConv1D:
    # Convolution in fixed point or floats (see formats). `weights` [filters, kernel_size] and
    # `biases` [filters] are 0 at first.

    def __init__(self, length, kernel_size, stride, filters, format="Q16.16", rounding="nearest",
                 overflow="wrap", time_major=False, make=signals.make):
        self.positions = n = positions(length, kernel_size, stride)
        checks.between("filters", filters, 1, 1 << 12)
        self.format = f = Format(format, rounding, overflow)
        self.kernel_size = kernel_size
        self.weights = f.zeros(filters * kernel_size)
        self.biases = f.zeros(filters)
        self.x = f.zeros(length)
        self._x = memoryview(self.x)
        self.out = make(f.code, filters * n)
        self._plan = f.plan((n, kernel_size, filters), (stride, 1), (1, kernel_size), 1,
                            (filters, 1) if time_major else (1, n))

    def __call__(self, x):
        f = self.format
        f.copy("x", x, self._x)
        f.matmul(self.x, f.acc, self.weights, self.biases, self.out, self._plan)
        return self.out

    def set_weight(self, filter, index, value):
        checks.between("filter", filter, 0, len(self.biases) - 1)
        checks.between("index", index, 0, self.kernel_size - 1)
        self.weights[filter * self.kernel_size + index] = self.format.encode("weight", value)

    def set_bias(self, filter, value):
        checks.between("filter", filter, 0, len(self.biases) - 1)
        self.biases[filter] = self.format.encode("bias", value)


def positions(length, kernel_size, stride, padding=0, dilation=1):
    checks.between("length", length, 1, 1 << 15)
    checks.between("padding", padding, 0, 1 << 15)
    checks.between("dilation", dilation, 1, 1 << 15)
    most = (length + 2 * padding - 1) // dilation + 1
    checks.between("kernel_size", kernel_size, 1, min(most, checks.MAX_INPUTS))
    checks.between("stride", stride, 1, 1 << 15)
    return (length + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def depthwise():
    from ..kernels import depthwise

    return depthwise


def window(name, kernel_size, filters, channels, groups):
    # -> how many values a filter sees
    if groups not in (1, channels):
        raise ValueError("%s.groups: expected 1 or %d, got %s" % (name, channels, groups))
    if groups > 1 and filters % groups:
        raise ValueError("%s.filters: expected a multiple of %d groups, got %d"
                         % (name, groups, filters))
    return kernel_size * channels // groups


def build(entry, given, need_weights):
    # int8, or in the entry's format; always time-major
    length, kernel_size = entry.rows("length"), entry.size("kernel_size")
    stride, filters = entry.size("stride"), entry.size("filters")
    sizes = length, kernel_size, stride, filters
    form = entry.word("format", "int8")
    if form != "int8":
        entry.accept(given, form, length)
        layer = QConv1D(*sizes, form, *arithmetic(entry), True, entry.make)
        layer.format.fill(layer, entry, [filters, kernel_size], [filters])
        entry.gives(layer.format.code, layer.out)
        return layer, (form, len(layer.out))
    channels, dilation = entry.size("channels", 1), entry.size("dilation", 1)
    groups, padding = entry.size("groups", 1), entry.integer("padding", 0)
    output = entry.output()
    form = "int8" if groups > 1 else entry.follow(given, length * channels)
    entry.accept(given, form, length * channels)
    seen = window(entry.name, kernel_size, filters, channels, groups)
    shape = None if channels == 1 else [filters, kernel_size, channels // groups]
    expect(entry, "", kernel_size, filters, False, entry.flag("bias", True), shape)
    kernel = depthwise() if groups > 1 else None
    linear = kinds(form)[0].take(entry.tensors, entry.name, seen, filters, output, kernel)
    layer = Conv1D(*sizes, linear, True, channels, padding, dilation, groups, form,
                   entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, len(layer.out))
