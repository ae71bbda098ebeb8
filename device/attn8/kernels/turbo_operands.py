# What the kernels in machine code want beside the packed weights, and how much room. They widen
# int8 to int16, rows in fours, and may read a word further.
from array import array

MAX_INPUTS = 511  # 256 * the sum of as many products fits into 32 bits


def pack(turbo, linear):
    # Packs the weights anew, in place -> what the kernels need beside them, int32 [outputs, 4]:
    # bias, mult, shift - 16 and one that the packing fills in
    constants = array("i", bytes(16 * linear.outputs))
    for j in range(linear.outputs):
        constants[4 * j] = linear.bias[j]
        if not linear.wide:
            constants[4 * j + 1] = linear.mult[j]
            constants[4 * j + 2] = linear.shift[j] - 16
    turbo.pack(linear.weight, constants, linear.inputs, linear.outputs)
    return constants


def row(inputs):
    return 2 * ((inputs + 3) & ~3) + 4


def room(keys, head_dim):
    # The bytes of packed keys; of packed values, their sums and a row of weights; of a query
    n = (keys + 3) & ~3
    return keys * row(head_dim) + 4, 2 * (head_dim + 1) * n + 4 * head_dim + 4, row(head_dim)


def sparse_room(keys, head_dim):
    # The bytes of packed keys, with a query in front of them, and of packed values
    size = row(head_dim) - 4
    return (keys + 1) * size + 4, keys * size + 4
