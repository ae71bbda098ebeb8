class MaxPool:
    # [rows, length, channels] -> [rows, positions, channels], as the layer of this name that only
    # runs. Its gradient goes to the first of the largest values, which the backward pass finds
    # anew.

    READS = ("x",)

    def __init__(self, f, name, length, channels, kernel_size, stride, positions, padding=0,
                 rows=1):
        from ...layers.max_pool import window

        window(name, length, kernel_size, stride, positions, padding)
        self.f = f
        self.name = name
        self.rows = rows
        self.size = rows * length * channels
        self.infers = {"length": length, "channels": channels, "kernel_size": kernel_size,
                       "stride": stride, "positions": positions, "padding": padding, "rows": rows}
        self._sizes = positions, kernel_size, channels, stride, -padding, length
        self._limits = 0, None
        if f.typecode == "i":
            from ...kernels import fixed_windows as kernels

            self._limits = f.limit, f.count
        else:
            from ...kernels import floating_windows as kernels
        self._kernels = kernels
        self.x = None
        self.out = f.room("out", rows * positions * channels)
        self.dx = f.room("dx", self.size)

    def __call__(self, x):
        self.x = self.f.accept(x, self.size, self.name)
        positions, taps, channels, stride, start, length = self._sizes
        for row in range(self.rows):
            self._kernels.largest(x, 0, self.out, row * length * channels,
                                  row * positions * channels, positions, taps, channels, stride,
                                  start, length)
        return self.out

    def backward(self, grad):
        limit, count = self._limits
        positions, taps, channels, stride, start, length = self._sizes
        self.f.accept(grad, len(self.out), self.name)
        self.f.clear(self.dx, self.size)
        for row in range(self.rows):
            self._kernels.back(self.x, 0, grad, self.dx, row * length * channels,
                               row * positions * channels, positions, taps, channels, stride,
                               start, length, limit, count)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return scale


def build(f, entry, given):
    n, c, rows = entry.size("length"), entry.size("channels"), entry.size("rows", 1)
    entry.accept(("", given), "", rows * n * c)
    layer = MaxPool(f, entry.name, n, c, entry.size("kernel_size"), entry.size("stride"),
                    entry.size("positions"), entry.integer("padding", 0), rows)
    return layer, len(layer.out)
