from array import array

from .. import checks, forms, memory, signals
from ..kernels.objects import part

SUMS = 1024  # bytes of int32 sums that wait to become int16

TOKENWISE = True


class Linear:
    # The parameters of out = x @ weight.T + bias, checked and packed, without buffers of their
    # own: weight int8 [outputs, inputs], bias int32 [outputs], and for int8 or int16 results
    # (`output`) the requantization mult int16 [outputs] and shift int8 [outputs]; without them
    # int32 sums come out.
    # weight and bias are taken: they are packed as the kernels want them, perhaps in place, and
    # belong to this object from then on; a weight of None comes later, as does this packing (see
    # tensors.Tensors.settle). form: of the kernels, if not the one of matmul that is taken for
    # these sizes.

    stored = None  # what reads a weight that stays in the file (see stored.Weight)

    def __init__(self, name, inputs, outputs, weight, bias, mult=None, shift=None, output="int8",
                 form=None):
        checks.kind("name", name, str)
        checks.between(name + ".in_features", inputs, 1, checks.MAX_INPUTS)
        checks.between(name + ".out_features", outputs, 1, 1 << 15)
        if weight is not None:
            checks.values(name + ".weight", weight, inputs * outputs, True)
        checks.values(name + ".bias", bias, outputs, True, "i")
        limit = 0x3FFFFFFF - (inputs << 14)  # |bias + sum of products| < 2**30
        checks.between(name + ".bias", min(bias), -limit, limit)
        checks.between(name + ".bias", max(bias), -limit, limit)
        self.wide = mult is None
        if self.wide and shift is not None:
            raise ValueError("missing tensor %s.mult" % name)
        if not self.wide:
            checks.values(name + ".mult", mult, outputs, False, "h")
            checks.values(name + ".shift", shift, outputs)
            for j in range(outputs):
                checks.multiplier(name, mult[j], shift[j])
        self.ratios = None
        if signals.known(name + ".output", output) == "int16":
            if self.wide:
                raise ValueError("missing tensor %s.mult" % name)
            self.ratios = mult, shift
            self.wide, mult, shift = True, None, None
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.form = form or forms.choose("matmul", inputs)
        if weight is not None:
            weight, bias, mult, shift = self.form.operands(weight, bias, mult, shift, inputs,
                                                           outputs)
        self.weight, self.bias, self.mult, self.shift = weight, bias, mult, shift

    @classmethod
    def take(cls, tensors, name, inputs, outputs, output="int8", form=None):
        # Takes the parameters out of a dict of arrays, under `name`.weight and so on, for its own.
        # form: as above, or what else a kind of Linear is told last
        def get(part, optional=False):
            key = name + "." + part
            if key not in tensors and not optional:
                raise ValueError("missing tensor " + key)
            return tensors.pop(key, None)

        waits = cls is Linear and hasattr(tensors, "settle")  # those of a file
        weight = None if waits else get("weight")
        made = cls(name, inputs, outputs, weight, get("bias"), get("mult", True),
                   get("shift", True), output, *(() if form is None else (form,)))
        if waits:
            tensors.leave(name + ".weight", made)
        return made


class Dense:
    # Fully connected layer over `rows` rows: int8 [rows, inputs] -> [rows, outputs], int8, int16
    # or int32 (see Linear). The result is in a buffer of `make`, or `out`, overwritten by the
    # next call. int16 is made of the sums of a few rows at a time where a form does not give it.

    def __init__(self, linear, rows=1, out=None, make=signals.make):
        if type(linear) is not Linear:
            checks.refuse("kind", "linear", linear, Linear)
        self.linear = linear
        self.rows = checks.between(linear.name + ".rows", rows, 1, 1 << 15)
        n = rows * linear.outputs
        code = "h" if linear.ratios else "i" if linear.wide else "b"
        self._size = n * signals.ITEMSIZES[code]
        tile = 0
        if linear.ratios:
            self._settle = forms.choose("stream").settle
            tile = min(rows, max(1, SUMS // (4 * linear.outputs)))
            self._x = memoryview(b"")  # of a tile's rows
            self._result = memoryview(b"")
        self._tile = tile
        if make is signals.make and out is None:
            memory.require(linear.name, self._size + 4 * tile * linear.outputs)
        if tile:
            self._sums = make("i", tile * linear.outputs)
        if out is None:
            out = make(code, n)
        self.out = checks.values(linear.name + ".out", out, n, True, code)
        self._matmul = linear.form.matmul
        self._at_once = 0
        if tile and hasattr(linear.form, "int16_rows"):
            self._at_once = linear.form.int16_rows(rows, linear.inputs, linear.outputs)
        forms.scratch.claim(*linear.form.room(linear.inputs, self._at_once or tile or rows))

    def __call__(self, x):
        p = self.linear
        size = self.rows * p.inputs
        checks.values(p.name, x, size)
        checks.apart(p.name, x, size, "out", self.out, self._size)
        return self.run(x)

    def run(self, x):
        # Unchecked, for a layer's own buffers
        if self.linear.stored:
            self.linear.stored.fetch()
        if self._tile:
            return self._tiles(x)
        self.product(x, self.out, self.rows)
        return self.out

    def product(self, x, out, rows):
        # As `run`, of so many rows, whose weight is there
        p = self.linear
        self._matmul(p.weight, 0, x, p.bias, p.mult, p.shift, out, forms.scratch.bytes, rows,
                     p.inputs, p.outputs, p.wide)

    def _tiles(self, x):
        # Some rows after others: a tile of x is read before its results are written
        p = self.linear
        mult, shift = p.ratios
        inputs = len(x) // self.rows
        first = self._at_once
        if first:
            self._matmul(p.weight, 0, x, p.bias, mult, shift, self.out, forms.scratch.bytes, first,
                         p.inputs, p.outputs, 2)
        while first < self.rows:
            n = min(self._tile, self.rows - first)
            self.product(part(self._x, x, first * inputs, n * inputs), self._sums, n)
            self._settle(self._sums, 0, part(self._result, self.out, 2 * first * p.outputs,
                                             2 * n * p.outputs), n, p.outputs, mult, shift)
            first += n
        return self.out


def expect(entry, part, inputs, outputs, wide=False, bias=True, weight=None, paired=0):
    # Checks the tensors of a Linear in a file; part: "", or that of the layer with a dot behind.
    # bias: whether the file has one, instead of zeros. weight: its shape, if not [outputs, inputs],
    # or in pairs of rows (see dense16.py)
    if paired:
        weight = [outputs >> 1, inputs, 2]
    entry.expect(part + "weight", "b", weight or [outputs, inputs])
    if bias:
        entry.expect(part + "bias", "i", [outputs])
    elif entry.has(part + "bias"):
        raise ValueError('%s: it has %s.%sbias and says "bias": false'
                         % (entry.name, entry.name, part))
    else:
        entry.leave(part + "bias", "i", [outputs], array("i", bytes(4 * outputs)))
    if not wide:
        entry.expect(part + "mult", "h", [outputs])
        entry.expect(part + "shift", "b", [outputs])


def kinds(form):
    # -> what stands for Linear and Dense where x has this format
    if form == "int8":
        return Linear, Dense
    from ..dense16 import Dense16, Linear16

    return Linear16, Dense16


def build(entry, given, need_weights):
    n, m = entry.size("in_features"), entry.size("out_features")
    rows = entry.rows("rows", 1)
    form = entry.word("format", "int8")
    if form != "int8":
        from ..qdense import of_entry

        return of_entry(entry, given, form, n, m, rows)
    output = entry.word("output", "int8")
    if output not in ("int8", "int16", "int32"):
        raise ValueError("%s.output: expected int8, int16 or int32, got %s" % (entry.name, output))
    sums = output == "int32"
    form = entry.follow(given, rows * n)
    linear, dense = kinds(form)
    paired = None
    if form == "int16":
        from ..dense16 import in_pairs

        paired = in_pairs(entry, "", n, m)
    expect(entry, "", n, m, sums, entry.flag("bias", True), None, paired)
    if sums and entry.has("mult"):
        raise ValueError('%s: it has %s.mult and says "output": "int32"' % (entry.name, entry.name))
    linear = linear.take(entry.tensors, entry.name, n, m, "int8" if sums else output, paired)
    layer = dense(linear, rows, None, entry.make)
    entry.gives("i" if sums else signals.CODES[output], layer.out)
    return layer, (output, rows * m)
