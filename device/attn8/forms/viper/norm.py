# Normalization of int16 rows: docs/numerics.md has the equations.
import micropython


@micropython.viper
def norm(x: ptr16, acc: int, found: ptr32, weight: ptr32, bias: ptr32, out: ptr8, rows: int, n: int,
         centred: int, left: int, eps_high: int, eps_low: int, shift: int, most: int):
    # Of each row of x [rows, n]: mean, factor and correction of normalized values
    # z = (x - mean) * factor - correction, which are left in found [rows, 3]; and then
    # out = ((z * weight >> 32) + bias) >> shift, int8 or, where most is 32767, int16.
    # left is 13 less the whole bits of z; eps is (eps_high << 28) + eps_low.
    sign = 1
    sign <<= 31
    copies = 0
    while n << copies <= 2048:
        copies += 1
    count = n << copies
    of = ptr16(int(x))
    results = ptr32(int(found))
    remaining = rows
    while remaining:
        acc = 0
        high = 0
        low = 0
        i = n
        while i:
            i -= 1
            d = (of[i] ^ 32768) - 32768
            acc += d
            d *= d
            high += d >> 14
            low += d & 16383
        mean = 0
        rest = 0
        if centred:
            mean = acc // n
            rest = acc - n * mean
        else:
            acc = 0
        # count * squares - sum * sum + eps in words of 14 bits, of the row `copies` times
        low <<= copies
        high = (high << copies) + (low >> 14)
        low &= 16383
        acc <<= copies
        if acc < 0:
            acc = 0 - acc
        d = acc >> 14
        acc &= 16383
        low = count * low - acc * acc + (eps_low & 16383)
        i = count * (high & 16383) - 2 * d * acc + (eps_low >> 14) + (low >> 14)
        high = count * (high >> 14) - d * d + eps_high + (i >> 14)
        low = ((i & 16383) << 14) + (low & 16383)
        # To 2**28 up to 2**30
        up = left - 14
        if high == 0:
            high = low
            if high < 4096:
                high = 4096
            low = 0
            up = left
        while high >> 28 == 0:
            high = (high << 2) + (low >> 26)
            low = (low & 67108863) << 2
            up += 1
        # The root, bit by bit
        acc = 0
        i = 1 << 14
        while i:
            d = acc + i
            if d * d <= high:
                acc = d
            i >>= 1
        if high - acc * acc > acc:
            acc += 1
        factor = ((count << 18) + (acc >> 1)) // acc
        acc = rest * factor
        correction = acc // n
        acc = ((acc - n * correction) << 17) // n  # the next 17 bits
        if up < 0:
            up = 0 - up
            i = 1 << up >> 1
            factor = (factor + i) >> up
            correction = (correction + i) >> up
        else:
            factor <<= up
            correction <<= up
            if acc:
                correction += acc >> (17 - up)
        results[0] = mean
        results[1] = factor
        results[2] = correction
        results = ptr32(int(results) + 12)
        of = ptr16(int(of) + (n << 1))
        remaining -= 1
    while rows:
        mean = (found[0] ^ sign) - sign
        factor = found[1]
        correction = (found[2] ^ sign) - sign
        i = 0
        while i < n:
            # The upper word of a product, from halves; only what was dropped below them is unsigned
            acc = ((x[i] ^ 32768) - 32768 - mean) * factor - correction
            w = (weight[i] ^ sign) - sign
            low = acc & 65535
            acc >>= 16
            w_low = w & 65535
            w >>= 16
            a = acc * w_low
            b = low * w
            low = (a & 65535) + (b & 65535) + (low * w_low >> 16 & 65535)
            acc = acc * w + (a >> 16) + (b >> 16) + (low >> 16)
            acc = acc + (bias[i] ^ sign) - sign >> shift
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            if most >> 8:
                ptr16(out)[i] = acc
            else:
                out[i] = acc
            i += 1
        found = ptr32(int(found) + 12)
        x = ptr16(int(x) + (n << 1))
        if most >> 8:
            out = ptr8(int(out) + (n << 1))
        else:
            out = ptr8(int(out) + n)
        rows -= 1
