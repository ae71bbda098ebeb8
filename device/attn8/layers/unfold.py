from .. import checks, memory, signals
from ..kernels import windows
from .max_pool import window


class Unfold:
    # Windows over two axes, [height, width, channels] -> [positions[0] * positions[1],
    # kernel_size[0] * kernel_size[1] * channels], int8 or int16: what a convolution multiplies.
    # They begin at -padding, then `stride` further; around the image there are zeros. All sizes
    # but `channels` are of (height, width).

    def __init__(self, sizes, channels, kernel_size, stride, positions, padding, format="int8",
                 name="unfold", make=signals.make):
        self.name = name
        checks.between(name + ".channels", channels, 1, 1 << 15)
        for i, axis in enumerate(("[0]", "[1]")):
            window(name, sizes[i], kernel_size[i], stride[i], positions[i], padding[i], axis)
        checks.between(name + ".positions", positions[0] * positions[1], 1, 1 << 15)
        taps = kernel_size[0] * kernel_size[1] * channels
        checks.between(name + ".kernel_size", taps, 1, checks.MAX_INPUTS)
        self.format = signals.known(name + ".format", format)
        unit = channels * signals.BYTES[format]
        self._sizes = sizes[0], kernel_size[0], stride[0], positions[0], padding[0]
        self._line = sizes[1] * unit
        self._run = kernel_size[1] * unit
        self._step = stride[1] * unit
        self._start = -padding[1] * unit
        self._positions = positions[1]
        self.size = sizes[0] * sizes[1] * channels
        n = positions[0] * positions[1] * taps
        self._bytes = n * signals.BYTES[format]
        if make is signals.make:
            memory.require(name, self._bytes)
        self.out = make(signals.CODES[format], n)

    def __call__(self, x):
        signals.accept(self.name, self.format, x, self.size, self.out, self._bytes)
        height, taps, stride, lines, padding = self._sizes
        n, run = self._positions, self._run
        skip = taps * run  # from a window to the next
        for i in range(lines):
            for k in range(taps):
                at = i * stride + k - padding
                there = 0 <= at < height
                windows.line(x, at * self._line if there else 0, self.out, i * n * skip + k * run,
                             n, run, skip, self._step, self._start, self._line if there else 0)
        return self.out


def build(entry, given, need_weights):
    sizes = entry.size("height"), entry.size("width")
    c = entry.size("channels")
    kernel_size, stride = pair(entry, "kernel_size"), pair(entry, "stride")
    positions, padding = pair(entry, "positions"), pair(entry, "padding")
    form = entry.follow(given, sizes[0] * sizes[1] * c)
    layer = Unfold(sizes, c, kernel_size, stride, positions, padding, form, entry.name,
                   entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, (form, len(layer.out))


def pair(entry, key):
    values = entry.take(key)
    if type(values) is not list or [type(n) for n in values] != [int, int]:
        raise ValueError("%s.%s: expected two whole numbers, of height and width, got %s"
                         % (entry.name, key, values))
    return values
