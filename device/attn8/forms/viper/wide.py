# What stands for int16 where other kernels take int8.
import micropython


@micropython.viper
def relu(x: ptr16, out: ptr16, n: int):
    # out = max(x, 0)
    while n:
        if x[0] & 32768:
            out[0] = 0
        else:
            out[0] = x[0]
        x = ptr16(int(x) + 2)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def interpolate(x: ptr16, acc: int, table: ptr16, out: ptr16, n: int):
    # out = the value at x of the line between two neighbours of table [513], 128 apart
    while n:
        acc = x[0] ^ 32768
        i = acc >> 7
        y = (table[i] ^ 32768) - 32768
        acc = ((table[i + 1] ^ 32768) - 32768 - y) * (acc & 127) + 64
        out[0] = y + (acc >> 7)
        x = ptr16(int(x) + 2)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def multiply(a: ptr16, acc: int, b: ptr16, out: ptr8, n: int, mult: int, shift: int, most: int):
    # out = requant(a * b; mult, shift), int8 or, where most is 32767, int16
    s = shift - 16
    i = 0
    while i < n:
        acc = ((a[i] ^ 32768) - 32768) * ((b[i] ^ 32768) - 32768)
        acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
        acc = (acc + (1 << s)) >> (s + 1)
        if acc > most:
            acc = most
        elif acc < 0 - most:
            acc = 0 - most
        if most >> 8:
            ptr16(out)[i] = acc
        else:
            out[i] = acc
        i += 1
