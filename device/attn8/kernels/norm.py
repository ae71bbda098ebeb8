# Normalization of int16 rows: docs/numerics.md has the equations.
import micropython


@micropython.viper
def statistics(x: ptr16, acc: int, found: ptr32, rows: int, n: int, centred: int, eps_mult: int,
               eps_shift: int):
    # Of the rows of x [rows, n] -> found [rows, 5]: mean, down, factor, offset and right, so that
    # normalized values are z = ((x - mean + down >> down) * factor - offset) >> right
    whole = 0
    while 1 << (whole << 1) < n:
        whole += 1
    highest = (14 + eps_shift) >> 1
    if highest > 14:
        highest = 14
    while rows:
        mean = 0
        rest = 0
        if centred:
            acc = 0
            i = n
            while i:
                i -= 1
                acc += (x[i] ^ 32768) - 32768
            mean = (2 * acc + n) // (2 * n)
            rest = acc - n * mean
        acc = 0
        i = n
        while i:
            i -= 1
            d = (x[i] ^ 32768) - 32768 - mean
            if d < 0:
                d = 0 - d
            if d > acc:
                acc = d
        up = 0
        down = 0
        if acc >> 15:
            down = 1
        else:
            while up < highest and acc >> (14 - up) == 0:
                up += 1
        rest = rest << up >> down
        correction = (2 * rest + n) // (2 * n)
        rest -= n * correction
        high = 0
        acc = 0
        i = n
        while i:
            i -= 1
            d = (((x[i] ^ 32768) - 32768 - mean + down) >> down << up) - correction
            d *= d
            high += d >> 15
            acc += d & 32767
        d = high // n
        acc = (d << 15) + (((high - n * d) << 15) + acc) // n
        i = 2 * (up - down) - eps_shift
        if i >= 0:
            acc += eps_mult << i
        elif i > -15:
            acc += eps_mult >> (0 - i)
        if acc == 0:
            acc = 1
        # The root of 2**28 up to 2**30, bit by bit
        left = 1 - whole
        if acc >> 30:
            acc >>= 2
            left -= 1
        while acc >> 28 == 0:
            acc <<= 2
            left += 1
        high = 0
        i = 1 << 14
        while i:
            d = high + i
            if d * d <= acc:
                high = d
            i >>= 1
        if acc - high * high > high:
            high += 1
        i = 1
        i <<= 30
        i = (i // high + 1) >> 1
        correction = correction * i + (2 * rest * i + n) // (2 * n)
        right = 0
        if left < 0:
            right = 0 - left
            left = 0
        found[0] = mean
        found[1] = down
        found[2] = i << up << left
        found[3] = correction << left
        found[4] = right
        found = ptr32(int(found) + 20)
        x = ptr16(int(x) + (n << 1))
        rows -= 1


@micropython.viper
def norm(x: ptr16, acc: int, found: ptr32, weight: ptr16, bias: ptr32, shift: ptr8, out: ptr8,
         rows: int, n: int, centred: int, most: int):
    # out = (z * weight + bias) >> shift, int8 or, where most is 32767, int16; bias counts where
    # centred
    sign = 1
    sign <<= 31
    while rows:
        mean = (found[0] ^ sign) - sign
        down = found[1]
        factor = found[2]
        offset = (found[3] ^ sign) - sign
        right = found[4]
        i = 0
        while i < n:
            acc = (x[i] ^ 32768) - 32768 - mean
            acc = ((acc + down) >> down) * factor - offset >> right
            w = (weight[i] ^ 32768) - 32768
            acc = (acc >> 15) * w + ((acc & 32767) * w >> 15)
            if centred:
                acc += (bias[i] ^ sign) - sign
            w = shift[i]
            acc = acc + (1 << w >> 1) >> w
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            if most >> 8:
                ptr16(out)[i] = acc
            else:
                out[i] = acc
            i += 1
        found = ptr32(int(found) + 20)
        x = ptr16(int(x) + (n << 1))
        if most >> 8:
            out = ptr8(int(out) + (n << 1))
        else:
            out = ptr8(int(out) + n)
        rows -= 1
