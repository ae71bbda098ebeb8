# Rows of mean 0 and variance 1 in training's fixed point, and their gradients (see fixed.py).
import micropython


@micropython.viper
def centre(x: ptr32, acc: int, out: ptr32, rows: int, n: int, limit: int, count: ptr32):
    # out = x without its row's mean, rounded half up; n <= 4096. out may be x.
    sign = 1
    sign <<= 31
    while rows:
        row = x
        low = 0
        high = n << 15  # sums of this and of the words' upper bits are not negative
        j = n
        while j:
            acc = (row[0] ^ sign) - sign
            low += acc & 32767
            high += acc >> 15
            row = ptr32(int(row) + 4)
            j -= 1
        high += low >> 15
        low &= 32767
        mean = high // n
        high -= mean * n
        mean = ((mean - 32768) << 15) + ((high << 15) + low + (n >> 1)) // n
        j = n
        while j:
            acc = (x[0] ^ sign) - sign - mean
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            out[0] = acc
            x = ptr32(int(x) + 4)
            out = ptr32(int(out) + 4)
            j -= 1
        rows -= 1


@micropython.viper
def normalize(x: ptr32, acc: int, out: ptr32, rows: int, n: int, shape: ptr32, factors: ptr32):
    # out = x / sqrt(mean(x**2) + eps), row by row; factors: the reciprocals of the roots, F / 2**q
    # as F and q + 64 in 16 bits each, F <= 2**15. The words of `shape`: frac, n * eps * 4**6 in
    # squared words as two of 16 bits and more, sqrt(n) as root / 2**places. out may be x.
    sign = 1
    sign <<= 31
    frac = shape[0]
    while rows:
        row = x
        peak = 0
        j = n
        while j:
            acc = (row[0] ^ sign) - sign
            acc ^= acc >> 31
            if acc > peak:
                peak = acc
            row = ptr32(int(row) + 4)
            j -= 1
        # Mantissas of 14 bits: x / 2**e, exact where e < 0
        e = 0
        while (peak >> e) > 16382:
            e += 1
        if e == 0:
            while e > -6 and (peak << (1 - e)) < 16383:
                e -= 1
        down = e - 1
        row = out
        high = 0
        low = 0
        j = n
        while j:
            acc = (x[0] ^ sign) - sign
            if e > 0:
                acc = ((acc >> down) + 1) >> 1
            else:
                acc <<= 0 - e
            row[0] = acc
            acc *= acc
            high += acc >> 16
            low += acc & 65535
            x = ptr32(int(x) + 4)
            row = ptr32(int(row) + 4)
            j -= 1
        # The sum of squares with eps, floor(n * eps / 4**e)
        j = (e + 6) << 1
        if j < 16:
            low += ((shape[1] << (16 - j)) + (shape[2] >> j)) & 65535
            high += shape[1] >> j
        else:
            low += (shape[1] >> (j - 16)) & 65535
            if j < 31:
                high += shape[1] >> j
        high += low >> 16
        low &= 65535
        # To 2**28 up to 2**30 by 4**h
        h = 0
        if high < 16384:
            acc = (high << 16) + low
            while acc and acc < 268435456:
                acc <<= 2
                h -= 1
        else:
            while (high >> (h << 1)) > 16383:
                h += 1
            acc = (high << (16 - (h << 1))) + (low >> (h << 1))
        root = 0
        j = 16384
        while j:
            low = root | j
            if low * low <= acc:
                root = low
            j >>= 1
        if acc - root * root > root:
            root += 1
        factor = 0
        if root:
            factor = ((shape[3] << 14) + (root >> 1)) // root
        h += 14 + shape[4] - frac
        j = h + e
        if j < 0:
            j = 0
        factors[0] = factor | ((j + 64) << 16)
        factors = ptr32(int(factors) + 4)
        low = 0
        if h > 0:
            low = (1 << h) >> 1
        j = n
        while j:
            acc = ((out[0] ^ sign) - sign) * factor
            if h < 0:
                acc <<= 0 - h
            else:
                acc = (acc + low) >> h
            out[0] = acc
            out = ptr32(int(out) + 4)
            j -= 1
        rows -= 1


@micropython.viper
def project(d: ptr32, acc: int, z: ptr32, rows: int, n: int, frac: int, limit: int, count: ptr32):
    # In place: d = d - z * mean(d * z), row by row, z normalized; n <= 4096
    sign = 1
    sign <<= 31
    half = 1 << (frac - 1)
    left = 30 - frac
    most = limit >> left
    while rows:
        # Exponents of mantissas of 14 bits, as of a product's operands
        a = 0
        b = 0
        j = 0
        while j < n:
            acc = (d[j] ^ sign) - sign
            acc ^= acc >> 31
            if acc > a:
                a = acc
            acc = (z[j] ^ sign) - sign
            acc ^= acc >> 31
            if acc > b:
                b = acc
            j += 1
        j = 0
        while (a >> j) > 16382:
            j += 1
        a = j
        j = 0
        while (b >> j) > 16382:
            j += 1
        b = j
        high = n << 13
        low = 0
        j = 0
        while j < n:
            acc = (d[j] ^ sign) - sign
            if a:
                acc = ((acc >> (a - 1)) + 1) >> 1
            t = (z[j] ^ sign) - sign
            if b:
                t = ((t >> (b - 1)) + 1) >> 1
            acc *= t
            high += acc >> 16
            low += acc & 65535
            j += 1
        high += low >> 16
        low &= 65535
        mean = high // n
        high -= mean * n
        mean = ((mean - 8192) << 16) + ((high << 16) + low + (n >> 1)) // n
        a += b - frac
        if a < 0:
            mean = (mean + (1 << (-1 - a))) >> (0 - a)
        else:
            mean <<= a
        if mean > limit:
            mean = limit
        elif mean < 0 - limit:
            mean = 0 - limit
        b = mean >> 15
        mean &= 32767
        j = n
        while j:
            acc = (z[0] ^ sign) - sign
            p = acc >> 15
            acc &= 32767
            t = p * mean + acc * b
            low = mean * acc
            p *= b
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
            acc = (d[0] ^ sign) - sign - acc
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            d[0] = acc
            d = ptr32(int(d) + 4)
            z = ptr32(int(z) + 4)
            j -= 1
        rows -= 1


@micropython.viper
def stretch(d: ptr32, acc: int, factors: ptr32, rows: int, n: int, limit: int, count: ptr32):
    # In place: d = d * factor of its row, as `normalize` has them, rounded once, half up
    sign = 1
    sign <<= 31
    while rows:
        factor = factors[0] & 65535
        q = (factors[0] >> 16) - 64
        half = (1 << q) >> 1
        if q > 14:
            half = (1 << (q - 15)) >> 1
        most = 0
        if q < 15:
            most = limit >> (15 - q)
        j = n
        while j:
            acc = (d[0] ^ sign) - sign
            low = (acc & 32767) * factor
            acc = (acc >> 15) * factor + (low >> 15)
            low &= 32767
            if q < 15:
                if acc > most or acc < -1 - most:
                    if acc > 0:
                        acc = limit
                    else:
                        acc = 0 - limit
                    count[0] = count[0] + 1
                else:
                    acc = (acc << (15 - q)) + ((low + half) >> q)
            elif q == 15:
                acc += (low + 16384) >> 15
            else:
                acc = (acc + half) >> (q - 15)
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            d[0] = acc
            d = ptr32(int(d) + 4)
            j -= 1
        factors = ptr32(int(factors) + 4)
        rows -= 1
