# What works element by element or channel by channel.
import micropython


@micropython.viper
def relu(x: ptr8, out: ptr8, n: int):
    while n:
        b = x[0]
        if b & 128:
            b = 0
        out[0] = b
        x = ptr8(int(x) + 1)
        out = ptr8(int(out) + 1)
        n -= 1


@micropython.viper
def mean_pool(x: ptr8, acc: int, out: ptr8, rows: int, columns: int, mult: int, shift: int):
    # out[i] = requant(sum_r x[r, i]; mult, shift); mult and shift hold the division by rows
    s = shift - 16
    i = 0
    while i < columns:
        source = ptr8(int(x) + i)
        acc = 0
        n = rows
        while n:
            acc += (source[0] ^ 128) - 128
            source = ptr8(int(source) + columns)
            n -= 1
        acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
        acc = (acc + (1 << s)) >> (s + 1)
        if acc > 127:
            acc = 127
        elif acc < -127:
            acc = -127
        out[i] = acc
        i += 1


@micropython.viper
def swap_axes(x: ptr32, out: ptr32, n: int, m: int, size: int):
    # x [n, m, size] -> out [m, n, size], in words where sizes and places allow
    words = ((int(x) | int(out) | size) & 3) == 0
    step = (n - 1) * size
    back = m * n * size - size
    while n:
        i = m
        while i:
            j = size
            if words:
                while j >= 16:
                    out[0] = x[0]
                    out[1] = x[1]
                    out[2] = x[2]
                    out[3] = x[3]
                    x = ptr32(int(x) + 16)
                    out = ptr32(int(out) + 16)
                    j -= 16
                while j:
                    out[0] = x[0]
                    x = ptr32(int(x) + 4)
                    out = ptr32(int(out) + 4)
                    j -= 4
            else:
                source = ptr8(x)
                target = ptr8(out)
                while j:
                    j -= 1
                    target[j] = source[j]
                x = ptr32(int(x) + size)
                out = ptr32(int(out) + size)
            out = ptr32(int(out) + step)
            i -= 1
        out = ptr32(int(out) - back)
        n -= 1

