from ... import checks
from ...kernels import windows
from ...signals import ITEMSIZES


class Unfold:
    # Windows over two axes, as the layer of this name that only runs; the gradient of a value is
    # the sum of those of all windows that see it, tap by tap

    READS = ()

    def __init__(self, f, name, sizes, channels, kernel_size, stride, positions, padding):
        from ...layers.max_pool import window

        for i, axis in enumerate(("[0]", "[1]")):
            window(name, sizes[i], kernel_size[i], stride[i], positions[i], padding[i], axis)
        n = positions[0] * positions[1] * kernel_size[0] * kernel_size[1] * channels
        checks.between(name + ".positions", n, 1, 1 << 20)
        self.f = f
        self.name = name
        self.size = sizes[0] * sizes[1] * channels
        self.infers = {"height": sizes[0], "width": sizes[1], "channels": channels,
                       "kernel_size": kernel_size, "stride": stride, "positions": positions,
                       "padding": padding}
        self._rows = sizes[0], kernel_size[0], stride[0], positions[0], padding[0]
        self._columns = sizes[1], kernel_size[1], stride[1], positions[1], padding[1]
        self._channels = channels
        self._unit = ITEMSIZES[f.typecode]
        self._limits = 0, None
        if f.typecode == "i":
            from ...kernels.fixed_windows import fold

            self._limits = f.limit, f.count
        else:
            from ...kernels.floating_windows import fold
        self._fold = fold
        self.out = f.room("out", n)
        self.dx = f.room("dx", self.size)

    def __call__(self, x):
        height, taps, stride, lines, padding = self._rows
        width, run, step, n, before = self._columns
        unit = self._unit * self._channels
        self.f.accept(x, self.size, self.name)
        for i in range(lines):
            for k in range(taps):
                at = i * stride + k - padding
                line = width * unit if 0 <= at < height else 0
                windows.line(x, at * line, self.out, (i * n * taps + k) * run * unit, n, run * unit,
                             taps * run * unit, step * unit, -before * unit, line)
        return self.out

    def backward(self, grad):
        height, taps, stride, lines, padding = self._rows
        width, run, step, n, before = self._columns
        channels, (limit, count) = self._channels, self._limits
        self.f.accept(grad, len(self.out), self.name)
        self.f.clear(self.dx, self.size)
        for k in range(taps):
            for i in range(lines):
                at = i * stride + k - padding
                if 0 <= at < height:
                    self._fold(grad, 0, self.dx, (i * n * taps + k) * run * channels,
                               at * width * channels, n, run, channels, taps * run * channels, step,
                               -before, width, limit, count)
        return self.dx

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        return scale


def build(f, entry, given):
    from ...layers.unfold import pair

    sizes, c = (entry.size("height"), entry.size("width")), entry.size("channels")
    entry.accept(("", given), "", sizes[0] * sizes[1] * c)
    layer = Unfold(f, entry.name, sizes, c, pair(entry, "kernel_size"), pair(entry, "stride"),
                   pair(entry, "positions"), pair(entry, "padding"))
    return layer, len(layer.out)
