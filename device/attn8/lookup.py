# Layers whose results are looked up in a table.
from . import checks, forms, signals
from .kernels.objects import part


class Lookup:
    # table[x] over `size` int8 values; table int8 [256], from 0 to 127, then from -128 to -1

    def __init__(self, size, table, name="lookup", make=signals.make):
        self.name = name
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        self.table = checks.values(name + ".table", table, 256)
        self.out = make("b", size, True)
        self._lookup = forms.choose("lookup").lookup

    def __call__(self, x):
        signals.accept_over(self.name, "int8", x, self.size, self.out)
        self._lookup(x, self.table, self.out, self.size)
        return self.out


class Interpolate:
    # int16 x of `size` values on the lines between those of table, int16 [513]: -32768, -32640 ...,
    # an array or Stored in the file

    def __init__(self, size, table, name="lookup", make=signals.make):
        self.name = name
        self.size = checks.between(name + ".size", size, 1, 1 << 20)
        if hasattr(table, "source"):
            forms.scratch.claim(1026)
            self.run = self._stream  # type: ignore[method-assign]
        else:
            checks.values(name + ".table", table, 513, False, "h")
        self.table = table
        self.out = make("h", size, True)
        self._interpolate = forms.choose("wide").interpolate

    def __call__(self, x):
        signals.accept_over(self.name, "int16", x, self.size, self.out)
        return self.run(x)

    def run(self, x):
        # Unchecked
        self._interpolate(x, 0, self.table, self.out, self.size)
        return self.out

    def _stream(self, x):
        source = self.table.source
        table = part(source.views[0], forms.scratch.bytes, 0, 1026)
        file = source.file
        try:
            file.seek(self.table.start)
            if file.readinto(table) != 1026:
                source.lost()
        except OSError:
            source.lost()
        self._interpolate(x, 0, table, self.out, self.size)
        return self.out


def build_lookup(entry, given):
    form = entry.output()
    entry.accept(given, form, given[1])
    kind, n = (Interpolate, 513) if form == "int16" else (Lookup, 256)
    take = entry.stored if form == "int16" else entry.tensor
    table = take("table", signals.CODES[form], [n])
    layer = kind(given[1], table, entry.name, entry.make)
    entry.gives(signals.CODES[form], layer.out)
    return layer, given
