# What the kernels in machine code want beside the packed weights, and how much room. They widen
# int8 to int16, rows in fours, and may read a word further.
from array import array


def constants(linear):
    # int32 [outputs, 3]: bias, mult, shift - 16
    from .lanes import plain_bias

    made = array("i", bytes(12 * linear.outputs))
    for j in range(linear.outputs):
        made[3 * j] = plain_bias(linear, j)
        if not linear.wide:
            made[3 * j + 1] = linear.mult[j]
            made[3 * j + 2] = linear.shift[j] - 16
    return made


def row(inputs):
    return 2 * ((inputs + 3) & ~3) + 4


def room(keys, head_dim):
    # The bytes of packed keys; of packed values, their sums and a row of weights; of a query
    n = (keys + 3) & ~3
    return keys * row(head_dim) + 4, 2 * (head_dim + 1) * n + 4 * head_dim + 4, row(head_dim)
