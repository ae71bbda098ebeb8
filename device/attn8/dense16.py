# Fully connected layers of int16, with the weights as a file has them.

from . import checks, forms, memory, signals
from .kernels.magnitudes import magnitudes
from .kernels.objects import part
from .layers.dense import Linear

AHEAD = 3072  # bytes of ratios that are read with weights, half of a tile
MOST = 1 << 29  # of |bias| and of |sum of products|: requant takes what is below 2**30


class Linear16(Linear):
    # What a Linear is, of int16 x. Values go down by as many bits (`down`) as the sums of the
    # weights' magnitudes ask for. bias None: zeros; weight: an array, or Stored in the file, of
    # which its place is kept.
    # mult and shift that lie right before it there are read with it, and not kept. paired: it is in
    # pairs of rows (see forms/viper/matmul16.py), as `in_pairs` finds.

    # What most have is no object's own: a language model has dozens
    tiles = None  # how weights are read that stay in the file: see tiles.Tiles
    mult = shift = None  # where they come with the weights
    bias = down = 0
    output = "int16"
    wide = False
    paired = 1

    def __init__(self, name, inputs, outputs, weight, bias, mult=None, shift=None, output="int8",
                 paired=0):
        signals.known(name + ".output", output)
        checks.between(name + ".in_features", inputs, 1, checks.MAX_INPUTS)
        checks.between(name + ".out_features", outputs, 1, 1 << 15)
        stored = hasattr(weight, "source")
        if stored:
            where = weight.memory()
            if where is not None:
                weight, stored = where, False
        if not stored:
            checks.values(name + ".weight", weight, inputs * outputs)
        if bias is not None:
            checks.values(name + ".bias", bias, outputs, True, "i")
            checks.between(name + ".bias", min(bias), -MOST, MOST)
            checks.between(name + ".bias", max(bias), -MOST, MOST)
        if mult is None and (shift is not None or output != "int8"):
            raise ValueError("missing tensor %s.mult" % name)
        if mult is not None:
            checks.values(name + ".mult", mult, outputs, False, "h")
            checks.values(name + ".shift", shift, outputs)
            for j in range(outputs):
                checks.multiplier(name, mult[j], shift[j])
        ahead = _ahead(weight, mult, shift) if stored and not outputs & 1 else 0
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        if not paired:
            self.paired = 0
        if mult is None:
            self.wide = True
        if output != "int16":
            self.output = output
        self.form = forms.choose("matmul16", inputs)
        if stored:
            from .tiles import tiles

            self.tiles = how = tiles(weight, inputs, outputs, self.form.room(inputs)[0], ahead)
        if bias is None or not any(bias):
            bias = self.form.zeros(outputs)
        if stored:
            most = self._settle(how, weight, bias, mult, shift)
        else:
            most = magnitudes(weight, 0, inputs, outputs, paired)
            weight, bias, mult, shift = self.form.operands(weight, bias, mult, shift, inputs,
                                                           outputs, paired)
        while most * (32768 >> self.down) > MOST:
            self.down += 1
        self.weight = weight.start if stored else weight
        if bias:
            self.bias = bias
        if not ahead:
            self.mult, self.shift = mult or bias, shift or bias

    def _settle(self, tiles, weight, bias, mult, shift):
        # Of what stays in the file: -> the largest sum of magnitudes
        k = self.inputs
        rest = memoryview(b"")
        most = first = 0
        for n, place, whole, rows in tiles.parts():
            weight.read(whole, place)
            most = max(most, magnitudes(rows, 0, k, n, self.paired))
            few = part(rest, bias, 4 * first, 4 * n) if bias else bias
            self.form.operands(rows, few, mult, shift, k, n, self.paired)
            first += n
        tiles.drop()
        return most


def in_pairs(entry, part, inputs, outputs):
    # 1 where the file has the weight `part` of an entry in pairs of rows, as its shape says, else 0
    part += "weight"
    if not entry.has(part) or len(entry.tensors["%s.%s" % (entry.name, part)][1]) < 3:
        return 0
    if outputs & 1 or inputs & 3 or inputs < 8:
        raise ValueError("%s.%s: expected pairs of an even number of rows, and inputs in "
                         "fours, 8 at least, got %d and %d" % (entry.name, part, outputs, inputs))
    return 1


def _ahead(weight, mult, shift):
    # -> how many bytes right before a Stored weight are mult and shift of its outputs, or 0
    size = 0 if mult is None else 3 * len(mult)
    if not 0 < size <= min(weight.start, AHEAD):
        return 0
    found = bytearray(size)
    weight.read(memoryview(found), -size)
    return size if found == bytes(mult) + bytes(shift) else 0


class Dense16:
    # What a Dense is, of int16 x. most: the largest magnitude of requantized results, where that of
    # their format is not.

    rows = 1
    _most = 32767

    def __init__(self, linear, rows=1, out=None, make=signals.make, most=None):
        self.linear = checks.kind("linear", linear, Linear16)
        name = linear.name
        if checks.between(name + ".rows", rows, 1, 1 << 15) > 1:
            self.rows = rows
        n = rows * linear.outputs
        code = "i" if linear.wide else signals.CODES[linear.output]
        largest = 0 if linear.wide else signals.MOST[linear.output]
        if most is None:
            most = largest
        else:
            checks.between(name + ".most", most, min(largest, 128), largest)
        if most != 32767:
            self._most = most
        if make is signals.make and out is None:
            memory.require(name, n * signals.ITEMSIZES[code])
        if out is None:
            out = make(code, n)
        self.out = checks.values(name + ".out", out, n, True, code)
        forms.scratch.claim(*linear.form.room(linear.inputs))

    def __call__(self, x):
        p = self.linear
        size = self.rows * p.inputs
        checks.values(p.name, x, size, False, "h")
        unit = 4 if p.wide else 2 if self._most > 127 else 1
        checks.apart(p.name, x, 2 * size, "out", self.out, self.rows * p.outputs * unit)
        return self.run(x)

    def run(self, x, out=None):
        # Unchecked, for a layer's own buffers
        p = self.linear
        out = self.out if out is None else out
        tiles = p.tiles
        if not tiles:
            p.form.matmul(p.weight, 0, x, p.bias, p.mult, p.shift, out, forms.scratch.bytes,
                          self.rows, p.inputs, p.outputs, p.down, self._most, p.paired)
            return out
        # With weights from the file, some rows of them at a time, for each row of x
        most, m, inputs, start = self._most, p.outputs, p.inputs, p.weight
        room, matmul = forms.scratch.bytes, p.form.matmul
        source = tiles.source
        a, b, c = source.views
        file = source.file
        parts = tiles.made if tiles.bytes is room else tiles.parts()
        bias, mult, shift = p.bias, p.mult, p.shift
        if mult is None:
            mult, shift = tiles.mult, tiles.shift
        one, to = x, out
        try:
            for row in range(self.rows):
                if self.rows > 1:
                    size = m * (4 if p.wide else 2 if most > 127 else 1)
                    one = part(a, x, 2 * row * inputs, 2 * inputs)
                    to = part(b, out, row * size, size)
                first = 0
                for n, place, whole, rows in parts:
                    file.seek(start + place)
                    if file.readinto(whole) != len(whole):
                        source.lost()
                    if n < m and p.bias:
                        bias = part(c, p.bias, 4 * first, 4 * n)
                    matmul(rows, first, one, bias, mult, shift, to, room, 1, inputs, n, p.down,
                           most, p.paired)
                    first += n
        except OSError:
            source.lost()
        return out

    def product(self, x, out, rows):
        # Of so many rows
        self.rows = rows
        return self.run(x, out)
