from .dense import Dense

TOKENWISE = True


class TiedHead(Dense):
    # A Dense without bias, whose weight is that of an embedding before it: what it adds to the
    # gradient comes first

    DIRECT = False
    wide = True

    def collect_params(self):
        return []

    def requantize(self, r, fields, scale):
        after = r.result(fields, self, scale)
        r.linear(self, scale, after)
        r.pair(self)
        return after


def build(f, entry, given):
    n, m, rows = entry.size("in_features"), entry.size("out_features"), entry.rows("rows", 1)
    entry.accept(("", given), "", rows * n)
    owner = entry.word("embedding") + ".weight"
    weights = [p for p in entry.params if p.name == owner and p.size == n * m]
    if not weights:
        raise ValueError("%s.embedding: expected that of a layer before it, with a weight of %d "
                         "values, got %s" % (entry.name, n * m, owner))
    layer = TiedHead(f, entry.name, n, m, rows, False, entry.asked or None, weights[0])
    return layer, rows * m
