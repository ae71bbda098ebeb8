from .. import checks, forms, signals

INPUTS = 2
TOKENWISE = True


class Multiply:
    # a * b of `size` int8 or int16 values (`format`), requantized to int8 or int16

    def __init__(self, size, mult, shift, output="int8", name="multiply", format="int8",
                 make=signals.make):
        if signals.known(name + ".format", format) == "int8":
            from ..kernels import multiply as kernels
        else:
            kernels = forms.choose("wide")
        self._multiply = kernels.multiply
        self.format = format
        self.name = name
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        checks.multiplier(name, mult, shift)
        self.mult, self.shift = mult, shift
        self.most = signals.MOST[signals.known(name + ".output", output)]
        self._bytes = size * signals.BYTES[output]
        self._over = output == format
        self.out = make(signals.CODES[output], size, self._over)

    def __call__(self, a, b):
        if self._over:
            signals.accept_over(self.name, self.format, a, self.size, self.out)
            signals.accept_over(self.name, self.format, b, self.size, self.out)
        else:
            signals.accept(self.name, self.format, a, self.size, self.out, self._bytes)
            signals.accept(self.name, self.format, b, self.size, self.out, self._bytes)
        return self.run(a, b)

    def run(self, a, b):
        # Unchecked
        self._multiply(a, 0, b, self.out, self.size, self.mult, self.shift, self.most)
        return self.out


def build(entry, given, need_weights):
    size = given[0][1]
    form = entry.follow(given[0], size)
    entry.accept(given[1], form, size)
    output = entry.output()
    layer = Multiply(size, entry.integer("mult"), entry.integer("shift"), output, entry.name,
                     form, entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, size)
