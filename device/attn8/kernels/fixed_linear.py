# What linear attention computes value by value where it trains in fixed point.
import micropython


@micropython.viper
def elu_plus_one(x: ptr32, acc: int, out: ptr32, table: ptr16, n: int, frac: int, limit: int,
                 count: ptr32):
    # out = x + 1, and e**x below 0, to multiples of 2**-15: 2**-t as in fixed_pointwise
    sign = 1
    sign <<= 31
    up = 16 - frac
    most = 12 << frac
    while n:
        acc = (x[0] ^ sign) - sign
        if acc > 0:
            acc += 1 << frac
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
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
            acc = ((acc << 1) + ((1 << up) >> 1)) >> up
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def reciprocals(x: ptr32, acc: int, factors: ptr32, n: int, frac: int):
    # 1 / x as F / 2**q, F of 15 bits, as fixed_norm.stretch takes them; 0 where x is not above 0.
    # factors may be x.
    sign = 1
    sign <<= 31
    while n:
        acc = (x[0] ^ sign) - sign
        factor = 0
        q = 0
        if acc > 0:
            while (acc >> q) > 32767:
                q += 1
            if q:
                acc = ((acc >> (q - 1)) + 1) >> 1
            while acc < 16384:
                acc <<= 1
                q -= 1
            factor = (536870912 + (acc >> 1)) // acc
            q += 29 - frac
            if q < 0:
                q = 0
        factors[0] = factor | ((q + 64) << 16)
        x = ptr32(int(x) + 4)
        factors = ptr32(int(factors) + 4)
        n -= 1


@micropython.viper
def blank(x: ptr32, first: int, n: int):
    # x = 0 from `first` to n
    while first < n:
        x[first] = 0
        first += 1


@micropython.viper
def triangle(x: ptr32, n: int):
    # x[i, j] = 0 where j > i, of n x n
    i = 0
    while i < n:
        j = i + 1
        while j < n:
            x[j] = 0
            j += 1
        x = ptr32(int(x) + (n << 2))
        i += 1
