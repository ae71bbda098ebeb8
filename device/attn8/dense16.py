# Fully connected layers of int16: the form of matmul that int8 takes, over the high and the low
# bytes (see kernels.split).
from array import array

from . import checks, forms, memory, signals
from .kernels import split
from .layers.dense import Linear

ROOM = 2048  # bytes that a block of rows works in, unless one row needs more
MOST = 1 << 29  # of |bias| and of |sum of products|: requant takes what is below 2**30


class Linear16(Linear):
    # What a Linear is, of int16 x. Values go down by as many bits (`down`) as the sums of the
    # weights' magnitudes ask for.

    def __init__(self, name, inputs, outputs, weight, bias, mult=None, shift=None, output="int8",
                 form=None):
        signals.known(name + ".output", output)
        checks.between(name + ".in_features", inputs, 1, checks.MAX_INPUTS)
        checks.between(name + ".out_features", outputs, 1, 1 << 15)
        checks.int8(name + ".weight", weight, inputs * outputs, True)
        checks.values(name + ".bias", bias, outputs, True, "i")
        checks.between(name + ".bias", min(bias), -MOST, MOST)
        checks.between(name + ".bias", max(bias), -MOST, MOST)
        if mult is None and (shift is not None or output != "int8"):
            raise ValueError("missing tensor %s.mult" % name)
        if mult is not None:
            checks.values(name + ".mult", mult, outputs, False, "h")
            checks.int8(name + ".shift", shift, outputs)
            for j in range(outputs):
                checks.multiplier(name, mult[j], shift[j])
        most = max(split.total(weight, 0, inputs, j, 1) for j in range(outputs))
        self.down = 0
        while most * (32768 >> self.down) > MOST:
            self.down += 1
        for j in range(outputs):
            bias[j] += split.total(weight, 0, inputs, j, 0) << 7
        super().__init__(name, inputs, outputs, weight, array("i", bytes(4 * outputs)), form=form)
        self.wide = mult is None
        self.output = output
        self.ratios = (mult, shift) if output == "int16" else None
        self.sums_bias = bias
        # join reads neither where it gives sums
        self.join = (bias, bias) if mult is None else (mult, shift)


def block(rows, inputs, outputs):
    # -> how many rows are computed at a time
    return max(1, min(rows, ROOM // (2 * inputs + 8 * outputs)))


class Dense16:
    # What a Dense is, of int16 x; `make` gives its room, for the halves and the sums of a block of
    # rows, and then its result. most: the largest magnitude of requantized results, where that of
    # their format is not. beside: another one of the same sizes, whose room this one shares.

    def __init__(self, linear, rows=1, out=None, make=signals.make, most=None, beside=None):
        self.linear = checks.kind("linear", linear, Linear16)
        name = linear.name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        n = rows * linear.outputs
        code = "i" if linear.wide else signals.CODES[linear.output]
        self._size = size = n * (4 if linear.wide else signals.BYTES[linear.output])
        largest = 0 if linear.wide else signals.MOST[linear.output]
        self._most = largest
        if most is not None:
            self._most = checks.between(name + ".most", most, min(largest, 128), largest)
        n, m = linear.inputs, linear.outputs
        rows = block(rows, n, m)
        if make is signals.make:
            working = 0 if beside else rows * (2 * n + 8 * m)
            memory.require(name, working + (size if out is None else 0))
        if beside is None:
            self._halves = make("b", 2 * rows * n)
            self._sums = make("i", 2 * rows * m)
            forms.scratch.claim(*linear.form.room(n, 2 * rows))
        else:
            other = checks.kind("beside", beside, Dense16)
            if (other.linear.inputs, other.linear.outputs) != (n, m):
                checks.refuse("buffers")
            rows = min(rows, other._block)
            self._halves, self._sums = other._halves, other._sums
        self._block = rows
        if out is None:
            out = make(code, self.rows * m)
        self.out = checks.values(name + ".out", out, self.rows * m, True, code)
        self._matmul = linear.form.matmul

    def __call__(self, x):
        p = self.linear
        size = self.rows * p.inputs
        checks.values(p.name, x, size, False, "h")
        checks.apart(p.name, x, 2 * size, "out", self.out, self._size)
        return self.run(x)

    def run(self, x):
        # Unchecked, for a layer's own buffers
        p = self.linear
        mult, shift = p.join
        first = 0
        while first < self.rows:
            rows = min(self._block, self.rows - first)
            split.split(x, 0, self._halves, first, rows, p.inputs, p.down)
            self._matmul(p.weight, 0, self._halves, p.bias, p.mult, p.shift, self._sums,
                         forms.scratch.bytes, 2 * rows, p.inputs, p.outputs, True)
            split.join(self._sums, 0, p.sums_bias, mult, shift, self.out, first, rows, p.outputs,
                       self._most)
            first += rows
        return self.out
