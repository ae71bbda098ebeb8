from .. import signals
from ..dense16 import Dense16, Linear16

TOKENWISE = True


def build(entry, given, need_weights):
    # A Dense16 without bias, whose weight is that of an embedding before it
    n, m = entry.size("in_features"), entry.size("out_features")
    rows = entry.rows("rows", 1)
    entry.accept(given, "int16", rows * n)
    output = entry.output()
    owner = entry.word("embedding")
    key = owner + ".weight"
    paired = int(key in entry.tensors and len(entry.tensors[key][1]) > 2)  # so the embedding says
    entry.expect("weight", "b", [m >> 1, n, 2] if paired else [m, n], owner)
    weight = entry.tensors.pop(key)
    linear = Linear16(entry.name, n, m, weight, None, entry.tensor("mult", "h", [m]),
                      entry.tensor("shift", "b", [m]), output, paired)
    layer = Dense16(linear, rows, None, entry.make)
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, rows * m)
