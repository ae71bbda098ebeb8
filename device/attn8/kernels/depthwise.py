# The matrix product of a convolution in which each channel has filters of its own. It stands where
# a form of matmul does (see layers.dense), but takes the weights as they are.
import micropython


def room(kernel_size, positions):
    return (0,)


def operands(weight, bias, mult, shift, kernel_size, filters):
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           positions: int, kernel_size: int, channels: int, multiplier: int, wide: int):
    # out[p, f] = requant(sum_k x[p, k, f // multiplier]*w[f, k] + bias[f]; mult[f], shift[f]), or
    # the int32 sum itself where `wide`, for the channels*multiplier filters f
    sign = 1
    sign <<= 31
    start = int(w)
    while positions:
        w = ptr8(start)
        f = 0
        c = 0
        while c < channels:
            m = multiplier
            while m:
                acc = 0
                r = ptr8(int(x) + c)
                n = kernel_size
                while n:
                    acc += ((w[0] ^ 128) - 128) * ((r[0] ^ 128) - 128)
                    w = ptr8(int(w) + 1)
                    r = ptr8(int(r) + channels)
                    n -= 1
                acc = acc + (bias[f] ^ sign) - sign
                if wide:
                    o = ptr32(out)
                    o[f] = acc
                else:
                    # requant: see matmul
                    k = mult[f]
                    s = shift[f] - 16
                    acc = (acc >> 15) * k + (((acc & 32767) * k) >> 15)
                    acc = (acc + (1 << s)) >> (s + 1)
                    if acc > 127:
                        acc = 127
                    elif acc < -127:
                        acc = -127
                    out[f] = acc
                f += 1
                m -= 1
            c += 1
        x = ptr8(int(x) + kernel_size * channels)
        if wide:
            out = ptr8(int(out) + (f << 2))
        else:
            out = ptr8(int(out) + f)
        positions -= 1
