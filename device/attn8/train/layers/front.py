from ... import checks
from ...model import load


class Front:
    # The first `count` layers of an int8 model, before those that train: plain integers in, words
    # of Q16.16 out. `mult` is the scale of the values, times 2**24. lengths: of inputs that have
    # lengths, how many tokens come out of 1, 2 ...; 0 where they are not kept apart.

    SOURCE = True

    def __init__(self, f, name, path, count, mult, lengths=None):
        self.f = f
        self.name = name
        # The scale of fixed point is a whole number of words: no product is large
        self._mult, self._shift = (mult, 8) if mult & 255 else (mult >> 8, 0)
        model = load(path, count=count)
        self._models = (model,)  # a tuple: what gives rooms their memory looks for none there
        self._lengths = lengths
        self._length = None
        self._input = model.input
        _, code, y = model.outputs[-1]
        # Whether a value may be no word
        self._beyond = (128 if code == "b" else 32768) * self._mult >> self._shift > f.limit
        self.out = f.room("out", len(y))

    def heed(self, length):
        if not self._lengths:
            return None
        self._length = length
        return self._lengths[length - 1] or None

    def __call__(self, x):
        n = len(self._input)
        self.f.accept(x, n, self.name)
        for i in range(n):
            self._input[i] = x[i]
        self._models[0](None, self._length)
        return self.again(x)

    def again(self, x):
        # What the model has given last stays where it is
        y = self._models[0].outputs[-1][2]
        mult, shift = self._mult, self._shift
        half = 1 << shift >> 1
        for i in range(len(self.out)):
            self.out[i] = (y[i] * mult + half) >> shift
        if self._beyond:
            self.f.accept(self.out, len(self.out), self.name)
        return self.out

    def stop(self):
        # Nothing asks for what the int8 model gives any more (what is deleted stays in memory)
        self._models = self._input = None  # type: ignore[assignment]

    def collect_params(self):
        return []

    def measured(self):
        return []


def build(f, entry, given):
    if f.name != "Q16.16":
        raise ValueError("%s: gives words of Q16.16; expected these numbers, got %s"
                         % (entry.name, f.name))
    lengths = entry.take("lengths", None)
    if lengths is not None:
        if type(lengths) is not list or len(lengths) != entry.tokens:
            raise ValueError("%s.lengths: expected those of 1 to %s tokens, got %s"
                             % (entry.name, entry.tokens, lengths))
        for n in lengths:
            checks.between(entry.name + ".lengths", n, 0, 1 << 15)
    layer = Front(f, entry.name, entry.word("model"), entry.size("count"), entry.integer("mult"),
                  lengths)
    entry.word("last")  # the host's name of the same layer
    entry.accept(("", given), "", len(layer._input))
    return layer, len(layer.out)
