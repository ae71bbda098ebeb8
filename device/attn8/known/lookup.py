from . import numbers


def right(form):
    # A permutation; blocks and a rest, and the result where the values were
    table = bytes([(37 * x + 5) & 255 for x in range(256)])
    x = numbers("b", 133, 91)
    expected = bytes([table[value & 255] for value in x])
    form.lookup(x, table, x, 133)
    return bytes(x) == expected
