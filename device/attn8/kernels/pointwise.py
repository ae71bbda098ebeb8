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
