from .. import checks, forms, memory, signals

TOKENWISE = True
MAX_FEATURES = 4095  # what is fine enough for the largest of them


class LayerNorm:
    # (x - mean) / sqrt(variance + eps) * weight + bias over rows of n values: int16 [rows, n] ->
    # int8 or int16. weight int32 [n], bias int32 [n]: ((z*weight >> 32) + bias) >> shift of values
    # z that have as many bits behind the point as sqrt(n) leaves of 31. eps_mult << eps_shift is
    # eps in the units of the sums. See docs/numerics.md.

    _centred = True
    rows = 1
    most = 32767
    _eps_high = 0

    def __init__(self, rows, weight, bias, shift, eps_mult, eps_shift, output="int8",
                 name="layer_norm", make=signals.make):
        self.name = name
        if checks.between(name + ".rows", rows, 1, 1 << 15) > 1:
            self.rows = rows
        checks.values(name + ".weight", weight, None, False, "i")
        self.features = n = checks.between(name + ".features", len(weight), 1, MAX_FEATURES)
        checks.values(name + ".bias", bias, n, False, "i")
        most = (1 << 30) - 1  # the sums stay in int32
        checks.between(name + ".bias", min(bias), -most, most)
        checks.between(name + ".bias", max(bias), -most, most)
        self.shift = checks.between(name + ".shift", shift, 0, 30)
        checks.between(name + ".eps_mult", eps_mult, 0, (1 << 15) - 1)
        checks.between(name + ".eps_shift", eps_shift, 0, 38)
        self.weight, self.bias = weight, bias
        eps = eps_mult << eps_shift
        if eps >> 28:
            self._eps_high = eps >> 28
        self._eps_low = eps & (1 << 28) - 1
        self._left = 13  # less the whole bits of z, which is below 2 ** those
        squares = n - 1 if self._centred else n
        while squares:
            squares >>= 2
            self._left -= 1
        if signals.known(name + ".output", output) == "int8":
            self.most = 127
        self.form = forms.choose("norm", n)
        if make is signals.make:
            memory.require(name, 12 * rows + signals.BYTES[output] * rows * n)
        self._statistics = make("i", 3 * rows)
        self.out = make(signals.CODES[output], rows * n)

    def __call__(self, x):
        rows, n = self.rows, self.features
        signals.accept(self.name, "int16", x, rows * n, self.out,
                       rows * n * (1 if self.most == 127 else 2))
        return self.run(x)

    def run(self, x):
        # Unchecked
        rows, n = self.rows, self.features
        self.form.norm(x, 0, self._statistics, self.weight, self.bias, self.out, rows, n,
                       self._centred, self._left, self._eps_high, self._eps_low, self.shift,
                       self.most)
        return self.out


def build(entry, given, need_weights):
    return build_norm(entry, given, LayerNorm)


def build_norm(entry, given, kind):
    n = entry.size("features")
    from ..entry import number

    number(entry.name, "eps", entry.take("eps"))  # the integers stand for it
    rows = max(given[1] // n, 1)
    entry.accept(given, "int16", rows * n)
    output = entry.output()
    weight = entry.tensor("weight", "i", [n])
    entry.expect("bias", "i", [n])
    bias = entry.tensors.same(entry.name + ".bias")  # of RMSNorms mostly all the same
    layer = kind(rows, weight, bias, entry.integer("shift"), entry.integer("eps_mult"),
                 entry.integer("eps_shift"), output, entry.name, entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, rows * n)
