# Matrix products of Q-format numbers with `frac` fractional bits. Every product is rounded (half
# is added: 0 truncates) and added in turn, and each result wraps or saturates, as in arithmetic
# with numbers of that width.
#
# out = bias + a @ b, with strides: plan int32 holds rows, inner, columns, then in bytes the steps
# of a (row, inner), b (inner, column), bias (column) and out (row, column), then frac, half,
# saturate and relu.
import micropython


@micropython.viper
def matmul16(a: ptr16, acc: int, b: ptr16, bias: ptr16, out: ptr16, plan: ptr32):
    frac = plan[10]
    half = plan[11]
    saturate = plan[12]
    rows = plan[0]
    while rows:
        w = int(b)
        c = int(bias)
        o = int(out)
        columns = plan[2]
        while columns:
            acc = (ptr16(c)[0] ^ 32768) - 32768
            x = int(a)
            y = w
            n = plan[1]
            while n:
                value = ((ptr16(x)[0] ^ 32768) - 32768) * ((ptr16(y)[0] ^ 32768) - 32768)
                value = (value + half) >> frac
                if saturate:
                    if value > 32767:
                        value = 32767
                    elif value < -32768:
                        value = -32768
                    acc += value
                    if acc > 32767:
                        acc = 32767
                    elif acc < -32768:
                        acc = -32768
                else:
                    acc += value
                x += plan[4]
                y += plan[5]
                n -= 1
            acc = ((acc & 65535) ^ 32768) - 32768
            if plan[13]:
                if acc < 0:
                    acc = 0
            ptr16(o)[0] = acc
            w += plan[6]
            c += plan[7]
            o += plan[9]
            columns -= 1
        a = ptr16(int(a) + plan[3])
        out = ptr16(int(out) + plan[8])
        rows -= 1


@micropython.viper
def matmul32(a: ptr32, acc: int, b: ptr32, bias: ptr32, out: ptr32, plan: ptr32):
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    most = sign - 1  # on a chip it wraps to the same
    least = -1 - most
    frac = plan[10]
    half = plan[11]
    saturate = plan[12]
    limit = (1 << frac) >> 1
    rows = plan[0]
    while rows:
        w = int(b)
        c = int(bias)
        o = int(out)
        columns = plan[2]
        while columns:
            acc = (ptr32(c)[0] ^ sign) - sign
            p = int(a)
            q = w
            n = plan[1]
            while n:
                # The 64 bits of the product in pieces: high, and 16 bits each of middle and low
                x = (ptr32(p)[0] ^ sign) - sign
                y = (ptr32(q)[0] ^ sign) - sign
                low = (x & 65535) * (y & 65535) + half
                cross = (x >> 16) * (y & 65535)
                other = (x & 65535) * (y >> 16)
                middle = ((low >> 16) & 65535) + (cross & 65535) + (other & 65535)
                high = (x >> 16) * (y >> 16) + (cross >> 16) + (other >> 16) + (middle >> 16)
                value = (high << (32 - frac)) + ((middle & 65535) << (16 - frac))
                value += (low & 65535) >> frac
                if saturate:
                    if high >= limit:
                        value = most
                    elif high < 0 - limit:
                        value = least
                    if value > 0:
                        if acc > most - value:
                            acc = most
                        else:
                            acc += value
                    elif acc < least - value:
                        acc = least
                    else:
                        acc += value
                else:
                    acc += value
                p += plan[4]
                q += plan[5]
                n -= 1
            acc = ((acc & mask) ^ sign) - sign
            if plan[13]:
                if acc < 0:
                    acc = 0
            ptr32(o)[0] = acc
            w += plan[6]
            c += plan[7]
            o += plan[9]
            columns -= 1
        a = ptr32(int(a) + plan[3])
        out = ptr32(int(out) + plan[8])
        rows -= 1


@micropython.viper
def scale16(x: ptr8, out: ptr16, n: int, factor: int, down: int):
    # out = x * factor / 2**down, rounded half up
    half = 0
    up = 0
    if down > 0:
        half = (1 << down) >> 1
    else:
        up = 0 - down
        down = 0
    while n:
        out[0] = ((((x[0] ^ 128) - 128) * factor + half) >> down) << up
        x = ptr8(int(x) + 1)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def scale32(x: ptr8, out: ptr32, n: int, factor: int, down: int):
    half = 0
    up = 0
    if down > 0:
        half = (1 << down) >> 1
    else:
        up = 0 - down
        down = 0
    while n:
        out[0] = ((((x[0] ^ 128) - 128) * factor + half) >> down) << up
        x = ptr8(int(x) + 1)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def narrow16(x: ptr16, out: ptr8, n: int, shift: int):
    # out = x / 2**shift, rounded half up, within +-127
    while n:
        acc = (x[0] ^ 32768) - 32768
        if shift:
            acc = ((acc >> (shift - 1)) + 1) >> 1
        if acc > 127:
            acc = 127
        elif acc < -127:
            acc = -127
        out[0] = acc
        x = ptr16(int(x) + 2)
        out = ptr8(int(out) + 1)
        n -= 1


@micropython.viper
def narrow32(x: ptr32, out: ptr8, n: int, shift: int):
    sign = 1
    sign <<= 31
    while n:
        acc = (x[0] ^ sign) - sign
        if shift:
            acc = ((acc >> (shift - 1)) + 1) >> 1
        if acc > 127:
            acc = 127
        elif acc < -127:
            acc = -127
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr8(int(out) + 1)
        n -= 1
