from .. import checks, memory, signals
from ..kernels import norm

TOKENWISE = True
MAX_FEATURES = 4096  # sums of squares stay in int32


class LayerNorm:
    # (x - mean) / sqrt(variance + eps) * weight + bias over rows of n values: int16 [rows, n] ->
    # int8 or int16. weight int16 [n], bias int32 [n], shift int8 [n]: (z*weight + bias) / 2**shift
    # of values z that have as many bits behind the point as sqrt(n) leaves of 15. eps is
    # eps_mult / 2**eps_shift squared steps of x. See docs/numerics.md.

    _centred = True

    def __init__(self, rows, weight, bias, shift, eps_mult, eps_shift, output="int8",
                 name="layer_norm", make=signals.make):
        self.name = name
        self.rows = checks.between(name + ".rows", rows, 1, 1 << 15)
        checks.values(name + ".weight", weight, None, False, "h")
        self.features = n = checks.between(name + ".features", len(weight), 1, MAX_FEATURES)
        checks.int8(name + ".shift", shift, n)
        checks.between(name + ".shift", min(shift), 0, 25)
        checks.between(name + ".shift", max(shift), 0, 25)
        checks.between(name + ".weight", min(weight), -32767, 32767)
        if self._centred:
            checks.values(name + ".bias", bias, n, False, "i")
            most = (1 << 30) - (1 << 25)  # the sums stay in int32
            checks.between(name + ".bias", min(bias), -most, most)
            checks.between(name + ".bias", max(bias), -most, most)
        checks.between(name + ".eps_mult", eps_mult, 0, (1 << 15) - 1)
        checks.between(name + ".eps_shift", eps_shift, -14, 64)
        self.weight, self.bias, self.shift = weight, bias, shift
        self.eps_mult, self.eps_shift = eps_mult, eps_shift
        self.most = signals.MOST[signals.known(name + ".output", output)]
        if make is signals.make:
            memory.require(name, 20 * rows + 2 * rows * n)
        self._statistics = make("i", 5 * rows)
        self.out = make(signals.CODES[output], rows * n)
        self._bytes = rows * n * signals.BYTES[output]

    def __call__(self, x):
        rows, n = self.rows, self.features
        signals.accept(self.name, "int16", x, rows * n, self.out, self._bytes)
        norm.statistics(x, 0, self._statistics, rows, n, self._centred, self.eps_mult,
                        self.eps_shift)
        norm.norm(x, 0, self._statistics, self.weight, self.bias, self.shift, self.out, rows, n,
                  self._centred, self.most)
        return self.out


def build(entry, given, need_weights):
    return build_norm(entry, given, LayerNorm, True)


def build_norm(entry, given, kind, centred):
    n = entry.size("features")
    entry.take("eps")  # the integers stand for it
    rows = max(given[1] // n, 1)
    entry.accept(given, "int16", rows * n)
    output = signals.output(entry)
    weight, shift = entry.tensor("weight", "h", [n]), entry.tensor("shift", "b", [n])
    bias = (entry.tensor("bias", "i", [n]),) if centred else ()
    layer = kind(rows, weight, *bias, shift, entry.integer("eps_mult"), entry.integer("eps_shift"),
                 output, entry.name, entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, rows * n)
