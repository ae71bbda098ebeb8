# What the specialised matmul needs beside the weights. It sums three products in two words, each
# with its bias and exact while it stays below 2**20 - 512, and requantises S in two halves of M:
# floor((S*M + 2**(s - 1)) / 2**s) = (S*m_high + (S*m_low >> 7) + 2**(s - 8)) >> (s - 7)
from array import array

import micropython


@micropython.viper
def row_bound(w: ptr8, inputs: int, outputs: int) -> int:
    # The largest sum of |weights| of one output; w is packed
    largest = 0
    while outputs:
        total = 0
        n = inputs
        while n:
            x = w[0] - 128
            if x < 0:
                x = 0 - x
            total += x
            w = ptr8(int(w) + 1)
            n -= 1
        if total > largest:
            largest = total
        outputs -= 1
    return largest


@micropython.viper
def row_sum(w: ptr8, inputs: int, output: int) -> int:
    # The sum of one output's packed weights
    w = ptr8(int(w) + inputs * output)
    total = 0
    while inputs:
        total += w[0]
        w = ptr8(int(w) + 1)
        inputs -= 1
    return total


def constants(linear):
    # int32 [outputs, 6]: M >> 7, M & 127, 2**(s - 8), s - 7, and what the two words start with;
    # None where a bound is not kept: 128 * sum |w| + |bias| < 2**20 - 512, and results below 2**15
    # until they are clamped
    n = linear.inputs
    largest = row_bound(linear.weight, n, linear.outputs) << 7
    made = array("i", bytes(24 * linear.outputs))
    for j in range(linear.outputs):
        total = row_sum(linear.weight, n, j) - (n << 7)
        bias = linear.bias[j] + (total << 7)
        mult = linear.mult[j]
        shift = linear.shift[j]
        if largest + abs(bias) >= (1 << 20) - 512 or not 21 <= shift <= 36:
            return None
        made[6 * j] = mult >> 7
        made[6 * j + 1] = mult & 127
        made[6 * j + 2] = 1 << (shift - 8)
        made[6 * j + 3] = shift - 7
        made[6 * j + 4] = _wrapped((2 + (1 << 22)) * bias - (257 + (1 << 29)) * total)
        made[6 * j + 5] = _wrapped((1 + (1 << 11)) * bias)
    return made


def row_constants(linear):
    # What the specialised matvec starts its sums with, int32 [outputs]: it sums products of
    # 2*(x + 128) + 1 and w + 128, and is to have twice those of x + 128 and twice the packed bias
    return array("i", [_wrapped(2 * linear.bias[j] - row_sum(linear.weight, linear.inputs, j))
                       for j in range(linear.outputs)])


def _wrapped(x):
    # To a signed word
    return (x + (1 << 31) & (1 << 32) - 1) - (1 << 31)
