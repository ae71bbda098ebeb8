from .. import checks, signals
from ..kernels import multiply

INPUTS = 2
TOKENWISE = True


class Multiply:
    # a * b of `size` int8 values, requantized to int8 or int16

    def __init__(self, size, mult, shift, output="int8", name="multiply",
                 make=signals.make):
        self.name = name
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        checks.multiplier(name, mult, shift)
        self.mult, self.shift = mult, shift
        self.most = signals.MOST[signals.known(name + ".output", output)]
        self.out = make(signals.CODES[output], size, output == "int8")

    def __call__(self, a, b):
        if self.most == 127:
            signals.accept_over(self.name, "int8", a, self.size, self.out)
            signals.accept_over(self.name, "int8", b, self.size, self.out)
        else:
            signals.accept(self.name, "int8", a, self.size, self.out, 2 * self.size)
            signals.accept(self.name, "int8", b, self.size, self.out, 2 * self.size)
        multiply.multiply(a, 0, b, self.out, self.size, self.mult, self.shift, self.most)
        return self.out


def build(entry, given, need_weights):
    size = given[0][1]
    for signal in given:
        entry.accept(signal, "int8", size)
    output = signals.output(entry)
    layer = Multiply(size, entry.integer("mult"), entry.integer("shift"), output, entry.name,
                     entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, size)
