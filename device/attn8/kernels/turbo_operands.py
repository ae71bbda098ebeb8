# What the kernels in machine code want beside the packed weights, and how much room.
from array import array

MAX_INPUTS = 511  # 256 * the sum of as many products fits into 32 bits
# Rows as each form has them: bytes of an element, elements to whose multiples they are filled up,
# and bytes behind them all. turbo widens int8 to int16 and may read a word further; simd puts rows
# at multiples of 16, wherever the room starts, and may read 16 bytes further.
ROWS = {"turbo": (2, 4, 4), "simd": (1, 16, 31)}


def pack(form, turbo, linear):
    # Packs the weights anew -> what the kernels need beside them, int32 [outputs, 4]: bias, mult,
    # shift - 16 and one that the packing fills in
    constants = array("i", bytes(16 * linear.outputs))
    for j in range(linear.outputs):
        constants[4 * j] = linear.bias[j]
        if not linear.wide:
            constants[4 * j + 1] = linear.mult[j]
            constants[4 * j + 2] = linear.shift[j] - 16
    linear.weight = weights(form, linear.weight, linear.inputs, linear.outputs)
    turbo.pack(linear.weight, constants, linear.inputs, linear.outputs)
    return constants


def weights(form, weight, inputs, outputs):
    # The weights where there is room to pack them: turbo does it in place
    if form == "turbo":
        return weight
    roomy = bytearray(rows(form, outputs, inputs))
    roomy[: inputs * outputs] = weight
    return roomy


def rows(form, count, inputs):
    # The bytes of so many rows
    size, unit, more = ROWS[form]
    return count * size * ((inputs + unit - 1) & -unit) + more


def row(form, inputs):
    return rows(form, 1, inputs)


def room(form, keys, head_dim):
    # The bytes of packed keys; of packed values, their sums and a row of weights; of a query
    n = (keys + 3) & ~3
    values = 2 * (head_dim + 1) * n + 4 * head_dim + 4
    return rows(form, keys, head_dim), values, row(form, head_dim)


def sparse_room(keys, head_dim, mac16):
    # The bytes of packed keys and values, on Xtensa behind room for a query and with a word more
    # that is read; and of what is kept of a row: scores, and on Xtensa where values are, weights
    # and sums of columns
    if not mac16:
        return 2 * keys * head_dim, 4 * keys
    row = rows("turbo", 1, head_dim) - 4
    return (2 * keys + 1) * row + 4, 8 * keys + 4 * (keys // 2 + 1) + 2 * row
