TOKENWISE = True  # the length that lies behind them is that of their tokens


class Features:
    # What the first layers of an int8 model have made of a sample, in the place of `front`: int8 or
    # int16 in, words of Q16.16 out. `mult` is the scale of the values, times 2**24. A length may
    # lie behind them.

    READS = ()
    RAW = True  # it takes no words
    SOURCE = True

    def __init__(self, f, name, size, mult):
        self.f = f
        self.name = name
        self.mult = mult
        self.out = f.room("out", size)

    def __call__(self, x):
        return self.again(x)

    def again(self, x):
        out, mult = self.out, self.mult
        for i in range(len(out)):
            out[i] = (x[i] * mult + 128) >> 8
        if mult > self.f.limit >> 7:  # a value of int16 may be no word
            self.f.accept(out, len(out), self.name)
        return out

    def collect_params(self):
        return []

    def measured(self):
        return []


def build(f, entry, given):
    return Features(f, entry.name, given, entry.integer("mult")), given
