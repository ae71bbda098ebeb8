# Fully connected layers of int16, with the weights as a file has them.

from . import checks, forms, memory, signals
from .kernels.magnitudes import magnitudes
from .kernels.objects import part
from .layers.dense import Linear

MOST = 1 << 29  # of |bias| and of |sum of products|: requant takes what is below 2**30


class Linear16(Linear):
    # What a Linear is, of int16 x. Values go down by as many bits (`down`) as the sums of the
    # weights' magnitudes ask for. bias None: zeros; weight: an array, or Stored in the file.

    tile = 0  # rows of weights that are read at a time, where they stay in the file

    def __init__(self, name, inputs, outputs, weight, bias, mult=None, shift=None, output="int8"):
        signals.known(name + ".output", output)
        checks.between(name + ".in_features", inputs, 1, checks.MAX_INPUTS)
        checks.between(name + ".out_features", outputs, 1, 1 << 15)
        stored = hasattr(weight, "load")
        if stored and weight.memory:
            weight, stored = weight.memory, False
        if not stored:
            checks.int8(name + ".weight", weight, inputs * outputs)
        if bias is not None:
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
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.wide = mult is None
        self.output = output
        self.ratios = (mult, shift) if output == "int16" else None
        self.most = 0 if self.wide else signals.MOST[output]
        self.form = forms.choose("matmul16", inputs)
        tile = 0
        if stored:
            from .stored import TILE

            self.tile = tile = max(1, min(outputs, TILE // inputs))
        if bias is None or not any(bias):
            bias = self.form.zeros(outputs, tile)
        if tile:
            most = self._tile(weight, bias, mult, shift, inputs, outputs)
        else:
            most = magnitudes(weight, 0, inputs, outputs)
            weight, bias, mult, shift = self.form.operands(weight, bias, mult, shift, inputs,
                                                           outputs)
        self.down = 0
        while most * (32768 >> self.down) > MOST:
            self.down += 1
        self.weight, self.bias = weight, bias
        self.mult, self.shift = mult or bias, shift or bias

    def _tile(self, weight, bias, mult, shift, inputs, outputs):
        # What stays in the file is read some rows at a time, behind what kernels work in: -> the
        # largest sum of magnitudes
        rows = self.tile
        self.at = (self.form.room(inputs)[0] + 3) & ~3
        forms.scratch.claim(self.at + rows * inputs)
        rest, view = memoryview(b""), memoryview(b"")
        most = first = 0
        while first < outputs:
            n = min(rows, outputs - first)
            view = part(view, forms.scratch.bytes, self.at, n * inputs)
            weight.read(view, first * inputs)
            most = max(most, magnitudes(view, 0, inputs, n))
            few = bias if len(bias) < outputs else part(rest, bias, 4 * first, 4 * n)
            self.form.operands(view, few, mult, shift, inputs, n)
            first += n
        return most


class Dense16:
    # What a Dense is, of int16 x. most: the largest magnitude of requantized results, where that of
    # their format is not.

    def __init__(self, linear, rows=1, out=None, make=signals.make, most=None):
        self.linear = checks.kind("linear", linear, Linear16)
        name = linear.name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        n = rows * linear.outputs
        code = "i" if linear.wide else signals.CODES[linear.output]
        self._size = size = n * (4 if linear.wide else signals.BYTES[linear.output])
        self._most = linear.most
        if most is not None:
            self._most = checks.between(name + ".most", most, min(linear.most, 128), linear.most)
        if make is signals.make and out is None:
            memory.require(name, size)
        if out is None:
            out = make(code, n)
        self.out = checks.values(name + ".out", out, n, True, code)
        forms.scratch.claim(*linear.form.room(linear.inputs))
        self._matmul = linear.form.matmul
        if linear.tile:
            self.run = self._stream  # type: ignore[method-assign]
            if rows > 1:
                self._x = memoryview(b"")

    def __call__(self, x):
        p = self.linear
        size = self.rows * p.inputs
        checks.values(p.name, x, size, False, "h")
        checks.apart(p.name, x, 2 * size, "out", self.out, self._size)
        return self.run(x)

    def run(self, x, out=None):
        # Unchecked, for a layer's own buffers
        p = self.linear
        out = self.out if out is None else out
        self._matmul(p.weight, 0, x, p.bias, p.mult, p.shift, out, forms.scratch.bytes,
                     self.rows, p.inputs, p.outputs, p.down, self._most)
        return out

    def _stream(self, x, out=None):
        # The same with weights from the file, some rows of them at a time, for each row of x
        p = self.linear
        out = self.out if out is None else out
        most, m, inputs, weight = self._most, p.outputs, p.inputs, p.weight
        size = 4 if p.wide else 2 if most > 127 else 1
        a, b, c, _, _ = weight.views
        file, start = weight.file, weight.start
        bias = p.bias
        one, to = x, out
        try:
            for row in range(self.rows):
                if self.rows > 1:
                    one = part(self._x, x, 2 * row * inputs, 2 * inputs)
                    to = part(b, out, row * m * size, m * size)
                first = 0
                while first < m:
                    n = min(p.tile, m - first)
                    buffer = forms.scratch.bytes
                    tile = part(a, buffer, p.at, n * inputs)
                    file.seek(start + first * inputs)
                    if file.readinto(tile) != n * inputs:
                        weight.lost()
                    if n < m and len(p.bias) >= m:
                        bias = part(c, p.bias, 4 * first, 4 * n)
                    self._matmul(tile, first, one, bias, p.mult, p.shift, to, buffer, 1, inputs, n,
                                 p.down, most)
                    first += n
        except OSError:
            weight.lost()
        return out
