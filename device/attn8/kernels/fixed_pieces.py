# Functions of one value in pieces where they train in fixed point, and the softplus.
import micropython


@micropython.viper
def clamp(x: ptr32, acc: int, out: ptr32, n: int, low: int, high: int):
    # out = x within low and high
    sign = 1
    sign <<= 31
    while n:
        acc = (x[0] ^ sign) - sign
        if acc > high:
            acc = high
        elif acc < low:
            acc = low
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def steps(x: ptr32, acc: int, c: ptr32, out: ptr32, n: int):
    # out = c[2] up to x = c[0], c[4] from x = c[1] on, c[3] between
    sign = 1
    sign <<= 31
    low = (c[0] ^ sign) - sign
    high = (c[1] ^ sign) - sign
    while n:
        acc = (x[0] ^ sign) - sign
        if acc <= low:
            acc = c[2]
        elif acc < high:
            acc = c[3]
        else:
            acc = c[4]
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def softplus(x: ptr32, acc: int, out: ptr32, table: ptr16, n: int, frac: int):
    # out = ln(1 + e**x) = max(x, 0) + ln(1 + y), y = e**-|x| as in fixed_pointwise, to 2**-13:
    # M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 4.1.43, whose error is
    # below 10**-5. In Q15.
    sign = 1
    sign <<= 31
    up = 16 - frac
    most = 12 << frac
    while n:
        acc = (x[0] ^ sign) - sign
        above = 0
        if acc > 0:
            above = acc
        else:
            acc = 0 - acc
        if acc > most:
            acc = most
        acc <<= up
        acc = (acc >> 15) * 23637 + (((acc & 32767) * 23637 + 16384) >> 15)
        i = (acc >> 7) & 255
        y = table[i]
        z = 32768
        if i < 255:
            z = table[i + 1]
        acc = ((((y << 7) - (y - z) * (acc & 127)) >> (7 + (acc >> 15))) + 1) >> 1
        y = ((acc * 1054 + 16384) >> 15) - 4459
        y = ((acc * y + 16384) >> 15) + 9486
        y = ((acc * y + 16384) >> 15) - 16119
        y = ((acc * y + 16384) >> 15) + 32751
        acc = (acc * y + 16384) >> 15
        out[0] = above + (((acc << 1) + ((1 << up) >> 1)) >> up)
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1
