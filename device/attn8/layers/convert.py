from .. import checks, forms, signals

TOKENWISE = True


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
    if form not in signals.CODES:
        from ..qconvert import Convert

        entry.accept(given, "int8", given[1])
        layer = Convert(given[1], form, shift, mult, entry.make)
        code = layer.format.code
    elif mult is not None:
        layer = Requantize(given[1], form, mult, shift, entry.name, entry.make)
        entry.accept(given, "int16" if form == "int8" else "int8", given[1])
        code = signals.CODES[form]
    elif form == "int8":
        from ..qconvert import ConvertToInt8

        layer = ConvertToInt8(given[1], given[0], shift, entry.make)
    else:
        raise ValueError("%s: the config lacks mult" % entry.name)
    entry.gives(code, layer.out)
    return layer, (form, given[1])
