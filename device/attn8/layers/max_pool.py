from .. import checks, memory, signals
from ..kernels import windows


class MaxPool:
    # [rows, length, channels] -> [rows, positions, channels], int8 or int16: the largest value of
    # each channel among kernel_size of the length, from -padding on, then `stride` further. What
    # a window has before and behind the signal does not count.

    def __init__(self, length, channels, kernel_size, stride, positions, padding=0, rows=1,
                 format="int8", name="max_pool", make=signals.make):
        self.name = name
        for what, n in (("length", length), ("channels", channels), ("rows", rows)):
            checks.between("%s.%s" % (name, what), n, 1, 1 << 15)
        window(name, length, kernel_size, stride, positions, padding)
        self.format = signals.known(name + ".format", format)
        unit = channels * signals.BYTES[format]
        self.rows = rows
        self.size = rows * length * channels
        self._sizes = (positions, kernel_size, channels, stride, -padding, length,
                       format == "int16")
        self._from, self._to = length * unit, positions * unit
        if make is signals.make:
            memory.require(name, rows * self._to)
        self.out = make(signals.CODES[format], rows * positions * channels)

    def __call__(self, x):
        signals.accept(self.name, self.format, x, self.size, self.out, self.rows * self._to)
        positions, taps, channels, stride, start, length, wide = self._sizes
        for row in range(self.rows):
            windows.largest(x, 0, self.out, row * self._from, row * self._to, positions, taps,
                            channels, stride, start, length, wide)
        return self.out


def window(name, length, size, stride, positions, padding, axis=""):
    # Refuses what has a window that sees nothing
    checks.between("%s.kernel_size%s" % (name, axis), size, 1, 1 << 15)
    checks.between("%s.stride%s" % (name, axis), stride, 1, 1 << 15)
    checks.between("%s.padding%s" % (name, axis), padding, 0, size - 1)
    checks.between("%s.positions%s" % (name, axis), positions, 1,
                   (length + padding - 1) // stride + 1)


def build(entry, given, need_weights):
    n, c = entry.size("length"), entry.size("channels")
    rows, positions = entry.size("rows", 1), entry.size("positions")
    form = entry.follow(given, rows * n * c)
    layer = MaxPool(n, c, entry.size("kernel_size"), entry.size("stride"), positions,
                    entry.integer("padding", 0), rows, form, entry.name, entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, (form, rows * positions * c)
