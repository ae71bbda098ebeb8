# Matrix product of int16 activations and int8 weights, with bias and requantization. Weights stay
# in the order of the file: rows, or where `paired` is 1 pairs of rows, [outputs / 2, inputs, 2],
# with a weight of the even row plus 128 and one of the odd row side by side.
from array import array

import micropython


def room(inputs):
    return (2 * inputs,)


def zeros(outputs):
    # A bias of zeros for `operands`, which takes it over, all of them; or 0, where there need not
    # be one
    return array("i", bytes(4 * outputs))


def operands(weight, bias, mult, shift, inputs, outputs, paired):
    # As those of matmul
    offsets(weight, 0, bias, inputs, outputs, paired)
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def offsets(w: ptr8, acc: int, bias: ptr32, inputs: int, outputs: int, paired: int):
    # The constant part of the offsets, 32768*sum(w + 128), goes off the bias
    flip = 0 if paired else 128
    while outputs:
        acc = 0
        n = inputs
        while n:
            acc += w[0] ^ flip
            w = ptr8(int(w) + 1 + paired)
            n -= 1
        if paired:
            flip ^= 128
            w = ptr8(int(w) - 1 if flip == 0 else int(w) + 1 - (inputs << 1))
        bias[0] = bias[0] - (acc << 15)
        bias = ptr32(int(bias) + 4)
        outputs -= 1


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr16, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr16, rows: int, inputs: int, outputs: int, down: int, most: int,
           paired: int):
    # out[r, j] = requant(sum_k x'[r, k]*w[j, k] + bias[j]; mult[j], shift[j]) within +-most, int8
    # or, where most is above 127, int16; the int32 sum itself where most is 0. x' = x / 2**down,
    # rounded. w, bias, mult and shift are of `operands`; `row` is of `room`. Sums of the offset
    # operands wrap at 2**32; what is left without the offsets fits.
    # acc: so many outputs come before those of w and bias; mult, shift and out are of all of them.
    # There is one row then, for which `row` is as the call for the outputs before has left it.
    sign = 1
    sign <<= 31
    word = (sign << 1) - 1
    half = (1 << down) >> 1
    start = int(w)
    flip = 0
    mult = ptr16(int(mult) + (acc << 1))
    shift = ptr8(int(shift) + acc)
    if most >> 7:
        acc <<= 1
    elif most == 0:
        acc <<= 2
    out = ptr8(int(out) + acc)
    while rows:
        total = 0
        k = 0
        while k < inputs:
            b = ((x[k] ^ 32768) - 32768 + half) >> down
            row[k] = b ^ 32768
            total += b
            k += 1
        total <<= 7
        w = ptr8(start)
        j = 0
        while j < outputs:
            acc = 0
            r = row
            n = inputs >> 2
            if paired:
                while n:
                    acc = (w[0] ^ flip) * r[0] + acc
                    acc = (w[2] ^ flip) * r[1] + acc
                    acc = (w[4] ^ flip) * r[2] + acc
                    acc = (w[6] ^ flip) * r[3] + acc
                    w = ptr8(int(w) + 8)
                    r = ptr16(int(r) + 8)
                    n -= 1
                flip ^= 128
                w = ptr8(int(w) - 1 if flip == 0 else int(w) + 1 - (inputs << 1))
            while n:
                acc = (w[0] ^ 128) * r[0] + acc
                acc = (w[1] ^ 128) * r[1] + acc
                acc = (w[2] ^ 128) * r[2] + acc
                acc = (w[3] ^ 128) * r[3] + acc
                w = ptr8(int(w) + 4)
                r = ptr16(int(r) + 8)
                n -= 1
            n = 0 if paired else inputs & 3
            while n:
                acc = (w[0] ^ 128) * r[0] + acc
                w = ptr8(int(w) + 1)
                r = ptr16(int(r) + 2)
                n -= 1
            acc = ((acc + bias[j] - total) & word ^ sign) - sign
            if most == 0:
                ptr32(out)[j] = acc
            else:
                m = mult[j]
                s = shift[j] - 16
                acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
                acc = (acc + (1 << s)) >> (s + 1)
                if acc > most:
                    acc = most
                elif acc < 0 - most:
                    acc = 0 - most
                if most < 128:
                    out[j] = acc
                else:
                    ptr16(out)[j] = acc
            j += 1
        x = ptr16(int(x) + (inputs << 1))
        if most == 0:
            out = ptr8(int(out) + (outputs << 2))
        elif most < 128:
            out = ptr8(int(out) + outputs)
        else:
            out = ptr8(int(out) + (outputs << 1))
        rows -= 1
