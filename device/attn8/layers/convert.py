from .. import checks, forms, signals

TOKENWISE = True


class Convert:
    # int8 to a fixed-point format: raw integers x << shift, so x stands for x * 2**(shift - frac)

    def __init__(self, size, format, shift, make=signals.make):
        from ..formats import Format
        from ..kernels import qformat

        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = Format(format)
        if self.format.frac == 0:
            raise ValueError("convert.format: expected fixed point, got %s" % format)
        self.shift = checks.between("convert.shift", shift, 0, 8 * (self.format.itemsize - 1))
        self._widen = qformat.widen16 if self.format.itemsize == 2 else qformat.widen32
        self.out = make(self.format.code, size)

    def __call__(self, x):
        checks.int8("convert", x, self.size)
        checks.apart("convert", x, self.size, "out", self.out,
                     self.size * self.format.itemsize)
        self._widen(x, self.out, self.size, self.shift)
        return self.out


class ConvertToInt8:
    # A fixed-point format to int8: raw integers x / 2**shift, rounded half up, within +-127

    def __init__(self, size, format, shift, make=signals.make):
        from ..formats import Format
        from ..kernels import qformat

        self.size = checks.between("convert.size", size, 1, 1 << 20)
        self.format = Format(format)
        if self.format.frac == 0:
            raise ValueError("convert: expected fixed point before it, got %s" % format)
        self.shift = checks.between("convert.shift", shift, 0, 8 * self.format.itemsize - 1)
        self._narrow = qformat.narrow16 if self.format.itemsize == 2 else qformat.narrow32
        self._x = memoryview(self.format.zeros(size))
        self.out = make("b", size)

    def __call__(self, x):
        self.format.copy("convert", x, self._x)
        self._narrow(x, self.out, self.size, self.shift)
        return self.out


class Requantize:
    # int16 to int8 or int8 to int16: requant(x << 9; mult, shift)

    def __init__(self, size, format, mult, shift, name="convert", make=signals.make):
        self.name = name
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        checks.multiplier(name, mult, shift)
        self.mult, self.shift = mult, shift
        self.out = make(signals.CODES[signals.known(name + ".format", format)], size)
        self._bytes = size * signals.BYTES[format]
        narrows = format == "int8"
        self._takes = "int16" if narrows else "int8"
        stream = forms.choose("stream")
        self._requantize = stream.narrow if narrows else stream.widen

    def __call__(self, x):
        signals.accept(self.name, self._takes, x, self.size, self.out, self._bytes)
        self._requantize(x, 0, self.out, self.size, self.mult, self.shift)
        return self.out


def build(entry, given, need_weights):
    form, shift, mult = entry.word("format"), entry.integer("shift"), entry.integer("mult", None)
    code = "b"
    if mult is not None:
        layer = Requantize(given[1], form, mult, shift, entry.name, entry.make)
        entry.accept(given, "int16" if form == "int8" else "int8", given[1])
        code = signals.CODES[form]
    elif form == "int8":
        layer = ConvertToInt8(given[1], given[0], shift, entry.make)
    else:
        entry.accept(given, "int8", given[1])
        layer = Convert(given[1], form, shift, entry.make)
        code = layer.format.code
    entry.gives(code, layer.out)
    return layer, (form, given[1])
