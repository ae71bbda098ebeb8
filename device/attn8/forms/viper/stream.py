# What a stream of int16 needs beside its normalization.
import micropython


@micropython.viper
def add(a: ptr16, acc: int, b: ptr16, out: ptr16, n: int):
    # out = a + b within +-32767; out may be a or b
    while n:
        acc = (a[0] ^ 32768) + (b[0] ^ 32768) - 65536
        if acc > 32767:
            acc = 32767
        elif acc < -32767:
            acc = -32767
        out[0] = acc
        a = ptr16(int(a) + 2)
        b = ptr16(int(b) + 2)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def widen(x: ptr8, acc: int, out: ptr16, n: int, mult: int, shift: int):
    # out = requant(x << 9; mult, shift), int16
    s = shift - 16
    while n:
        acc = ((x[0] ^ 128) - 128) << 9
        acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
        acc = (acc + (1 << s)) >> (s + 1)
        if acc > 32767:
            acc = 32767
        elif acc < -32767:
            acc = -32767
        out[0] = acc
        x = ptr8(int(x) + 1)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def narrow(x: ptr16, acc: int, out: ptr8, n: int, mult: int, shift: int):
    # out = requant(x << 9; mult, shift), int8
    s = shift - 16
    while n:
        acc = ((x[0] ^ 32768) - 32768) << 9
        acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
        acc = (acc + (1 << s)) >> (s + 1)
        if acc > 127:
            acc = 127
        elif acc < -127:
            acc = -127
        out[0] = acc
        x = ptr16(int(x) + 2)
        out = ptr8(int(out) + 1)
        n -= 1


@micropython.viper
def settle(x: ptr32, acc: int, out: ptr16, rows: int, columns: int, mult: ptr16, shift: ptr8):
    # out[r, j] = requant(x[r, j]; mult[j], shift[j]), int16; out may lie where x does
    sign = 1
    sign <<= 31
    while rows:
        j = 0
        while j < columns:
            acc = (x[0] ^ sign) - sign
            m = mult[j]
            s = shift[j] - 16
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 32767:
                acc = 32767
            elif acc < -32767:
                acc = -32767
            out[0] = acc
            x = ptr32(int(x) + 4)
            out = ptr16(int(out) + 2)
            j += 1
        rows -= 1
