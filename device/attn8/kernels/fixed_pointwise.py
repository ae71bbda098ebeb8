# What training computes value by value in fixed point, besides fixed_words (see fixed.py).
import micropython


@micropython.viper
def multiply(x: ptr32, acc: int, y: ptr32, out: ptr32, rows: int, columns: int, add: int,
             frac: int, limit: int, count: ptr32):
    # out[r, j] = x[r, j] * y[j], rounded once, half up, or added to out. With 15 bits of x and y
    # each, acc and high, the product is p * 2**30 + low, 0 <= low < 2**30.
    sign = 1
    sign <<= 31
    start = int(y)
    half = 1 << (frac - 1)
    left = 30 - frac
    most = limit >> left
    while rows:
        y = ptr32(start)
        j = columns
        while j:
            acc = (x[0] ^ sign) - sign
            high = (y[0] ^ sign) - sign
            p = acc >> 15
            acc &= 32767
            low = high & 32767
            high >>= 15
            t = p * low + acc * high
            low *= acc
            p *= high
            t += low >> 15
            p += t >> 15
            if p > most:
                acc = limit
                count[0] = count[0] + 1
            elif p < -1 - most:
                acc = 0 - limit
                count[0] = count[0] + 1
            else:
                low = ((t & 32767) << 15) + (low & 32767)
                acc = (p << left) + ((low + half) >> frac)
            if add:
                acc += (out[0] ^ sign) - sign
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            out[0] = acc
            x = ptr32(int(x) + 4)
            y = ptr32(int(y) + 4)
            out = ptr32(int(out) + 4)
            j -= 1
        rows -= 1


@micropython.viper
def within(x: ptr32, acc: int, out: ptr32, n: int, most: int):
    # out = x within +-most
    sign = 1
    sign <<= 31
    while n:
        acc = (x[0] ^ sign) - sign
        if acc > most:
            acc = most
        elif acc < 0 - most:
            acc = 0 - most
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def sigmoid(x: ptr32, acc: int, out: ptr32, table: ptr16, n: int, twice: int, frac: int):
    # out = 1 / (1 + e**-x), to multiples of 2**-15, or with `twice` tanh(x), of 2**-14. e**-|x| is
    # 2**-t as in fixed_softmax, t in 2**-15 octaves
    sign = 1
    sign <<= 31
    up = 16 - frac
    most = 12 << frac
    if twice:
        most >>= 1
    while n:
        acc = (x[0] ^ sign) - sign
        negative = acc < 0
        if negative:
            acc = 0 - acc
        if acc > most:
            acc = most
        acc <<= up + twice
        acc = (acc >> 15) * 23637 + (((acc & 32767) * 23637 + 16384) >> 15)
        i = (acc >> 7) & 255
        y = table[i]
        z = 32768
        if i < 255:
            z = table[i + 1]
        acc = ((((y << 7) - (y - z) * (acc & 127)) >> (7 + (acc >> 15))) + 1) >> 1
        # The smaller side's, in Q15
        acc = ((acc << 15) + ((32768 + acc) >> 1)) // (32768 + acc)
        if twice:
            acc = 32768 - (acc << 1)
            if negative:
                acc = 0 - acc
        elif not negative:
            acc = 32768 - acc
        out[0] = ((acc << 1) + ((1 << up) >> 1)) >> up
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def normal(x: ptr32, acc: int, out: ptr32, table: ptr16, n: int, density: int, frac: int):
    # out = the distribution of a standard normal variable at x, or its density: M. Abramowitz and
    # I. Stegun, "Handbook of Mathematical Functions", 26.2.16, whose error is below 10**-5. In Q15.
    sign = 1
    sign <<= 31
    up = 16 - frac
    most = (19 << frac) >> 2
    one = 1  # a constant of 31 bits would be an object
    one <<= 30
    while n:
        acc = (x[0] ^ sign) - sign
        negative = acc < 0
        if negative:
            acc = 0 - acc
        if acc > most:
            acc = most
        acc <<= up
        t = 32768 + (((acc >> 3) * 10901 + 4096) >> 13)
        t = (one + (t >> 1)) // t
        # x**2 in Q16, and as octaves
        i = acc & 1023
        acc >>= 10
        acc = ((acc * acc) << 4) + ((acc * i) >> 5) + ((i * i) >> 16)
        acc = ((acc >> 15) * 23637 + (((acc & 32767) * 23637) >> 15) + 1) >> 1
        i = (acc >> 7) & 255
        y = table[i]
        z = 32768
        if i < 255:
            z = table[i + 1]
        acc = ((((y << 7) - (y - z) * (acc & 127)) >> (7 + (acc >> 15))) + 1) >> 1
        acc = (acc * 13073 + 16384) >> 15
        if not density:
            y = ((t * 30713 + 16384) >> 15) - 3938
            y = ((t * y + 16384) >> 15) + 14293
            y = (t * y + 16384) >> 15
            acc = (acc * y + 16384) >> 15
            if not negative:
                acc = 32768 - acc
        out[0] = ((acc << 1) + ((1 << up) >> 1)) >> up
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1
