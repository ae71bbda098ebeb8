# Matrix product of int8 activations and weights, with bias and requantization.
import micropython


def room(inputs, rows):
    return (inputs,)


def operands(weight, bias, mult, shift, inputs, outputs):
    # Once, at load, of int8 [outputs, inputs], int32, int16 and int8 [outputs], which are taken
    # over -> (weight, bias, mult, shift) as matmul wants them. mult and shift are None where the
    # results are int32: matmul then reads neither, but wants pointers.
    pack(weight, bias, inputs, outputs)
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def pack(w: ptr8, bias: ptr32, inputs: int, outputs: int):
    # w [outputs, inputs] becomes w + 128, and the constant part of the offsets,
    # 16384*inputs - 128*sum(w + 128), goes into the bias.
    while outputs:
        total = 0
        n = inputs
        while n:
            b = w[0] ^ 128
            w[0] = b
            total += b
            w = ptr8(int(w) + 1)
            n -= 1
        bias[0] = bias[0] + (inputs << 14) - (total << 7)
        bias = ptr32(int(bias) + 4)
        outputs -= 1


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    # out[r, j] = requant(sum_k x[r, k]*w[j, k] + bias[j]; mult[j], shift[j]), or the int32 sum
    # itself where `wide`. w, bias, mult and shift are of `operands`; `row` is of `room`.
    sign = 1
    sign <<= 31
    start = int(w)
    while rows:
        total = 0
        k = 0
        while k < inputs:
            b = x[k] ^ 128
            row[k] = b
            total += b
            k += 1
        total <<= 7
        w = ptr8(start)
        j = 0
        while j < outputs:
            acc = 0
            r = row
            n = inputs >> 3
            while n:
                acc = w[0] * r[0] + acc
                acc = w[1] * r[1] + acc
                acc = w[2] * r[2] + acc
                acc = w[3] * r[3] + acc
                acc = w[4] * r[4] + acc
                acc = w[5] * r[5] + acc
                acc = w[6] * r[6] + acc
                acc = w[7] * r[7] + acc
                w = ptr8(int(w) + 8)
                r = ptr8(int(r) + 8)
                n -= 1
            n = inputs & 7
            while n:
                acc = w[0] * r[0] + acc
                w = ptr8(int(w) + 1)
                r = ptr8(int(r) + 1)
                n -= 1
            acc = acc + (bias[j] ^ sign) - sign - total
            if wide:
                o = ptr32(out)
                o[j] = acc
            else:
                # requant: |acc| < 2**30, so each product and the sum stay in int32
                m = mult[j]
                s = shift[j] - 16
                acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
                acc = (acc + (1 << s)) >> (s + 1)
                if acc > 127:
                    acc = 127
                elif acc < -127:
                    acc = -127
                out[j] = acc
            j += 1
        x = ptr8(int(x) + inputs)
        if wide:
            out = ptr8(int(out) + (outputs << 2))
        else:
            out = ptr8(int(out) + outputs)
        rows -= 1
