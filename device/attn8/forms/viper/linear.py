# Linear attention over one head: phi(q) @ (phi(k).T @ v), in steps that other kernels' features
# (performer.py) share: accumulate, shrink, features, attend.
#
# The state kv int32 [features, head_dim] holds sum phi*(v + 128), so that loads need no sign; with
# z[i] = sum phi, 128*z[i] is taken off where it is read. It may wrap (performer.py's does, the
# linear core's does not): what remains fits in int32.
import micropython


def room(rows, features, head_dim):
    # A token's values, the features of a block of rows
    return head_dim, 2 * rows * features


@micropython.viper
def fill(x: ptr32, value: int, n: int):
    while n:
        x[0] = value
        x = ptr32(int(x) + 4)
        n -= 1


@micropython.viper
def accumulate(kv: ptr32, f: int, row: ptr8, k: ptr8, v: ptr8, table: ptr16, z: ptr32, first: int,
               tokens: int, head_dim: int):
    # For tokens first..: kv[i, j] += table[k[t, i]]*(v[t, j] + 128), z[i] += table[k[t, i]].
    # `row` is room for head_dim bytes.
    state = int(kv)
    offset = int(row)
    k = ptr8(int(k) + first * head_dim)
    v = ptr8(int(v) + first * head_dim)
    while tokens:
        j = 0
        while j < head_dim:
            row[j] = v[j] ^ 128
            j += 1
        kv = ptr32(state)
        i = 0
        while i < head_dim:
            f = table[k[i]]
            z[i] = z[i] + f
            n = head_dim >> 3
            while n:
                kv[0] = row[0] * f + kv[0]
                kv[1] = row[1] * f + kv[1]
                kv[2] = row[2] * f + kv[2]
                kv[3] = row[3] * f + kv[3]
                kv[4] = row[4] * f + kv[4]
                kv[5] = row[5] * f + kv[5]
                kv[6] = row[6] * f + kv[6]
                kv[7] = row[7] * f + kv[7]
                kv = ptr32(int(kv) + 32)
                row = ptr8(int(row) + 8)
                n -= 1
            n = head_dim & 7
            while n:
                kv[0] = row[0] * f + kv[0]
                kv = ptr32(int(kv) + 4)
                row = ptr8(int(row) + 1)
                n -= 1
            row = ptr8(offset)
            i += 1
        k = ptr8(int(k) + head_dim)
        v = ptr8(int(v) + head_dim)
        tokens -= 1


@micropython.viper
def shrink(kv: ptr32, x: int, z: ptr32, out: ptr32, features: int, head_dim: int,
           limit: int) -> int:
    # out[j, i] = round((kv[i, j] - 128*z[i]) / 2**p) with the smallest p that keeps |out| within
    # `limit`; returns p
    sign = 1
    sign <<= 31
    largest = 0
    i = 0
    while i < features:
        o = ptr32(int(out) + (i << 2))
        n = head_dim
        while n:
            o[0] = kv[0] - (z[i] << 7)
            x = (o[0] ^ sign) - sign
            if x < 0:
                x = 0 - x
            if x > largest:
                largest = x
            kv = ptr32(int(kv) + 4)
            o = ptr32(int(o) + (features << 2))
            n -= 1
        i += 1
    p = 0
    while ((largest + ((1 << p) >> 1)) >> p) > limit:
        p += 1
    if p:
        half = (1 << p) >> 1
        n = features * head_dim
        while n:
            x = (out[0] ^ sign) - sign
            out[0] = (x + half) >> p
            out = ptr32(int(out) + 4)
            n -= 1
    return p


@micropython.viper
def features(x: ptr8, table: ptr16, out: ptr16, first: int, rows: int, head_dim: int):
    # out = table[x] for rows first.. of x
    x = ptr8(int(x) + first * head_dim)
    n = rows * head_dim
    while n:
        out[0] = table[x[0]]
        x = ptr8(int(x) + 1)
        out = ptr16(int(out) + 2)
        n -= 1


@micropython.viper
def attend(kv: ptr32, acc: int, phi: ptr16, z: ptr32, sums: ptr32, out: ptr8, first: int,
           rows: int, features: int, head_dim: int, p: int, denominator: int, num: int,
           shift: int):
    # out[first + r, j] = sum_i phi[r, i]*kv[j, i] * 2**p / sums[first + r] * num/2**shift, where
    # sums = denominator, or phi @ z where that is 0. One division a row; a row without any weight
    # gives zeros. The kernel reads the low words of signed values: the sum alone gets its sign.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    state = int(kv)
    s = shift - 16
    sums = ptr32(int(sums) + (first << 2))
    out = ptr8(int(out) + first * head_dim)
    while rows:
        total = denominator
        if total == 0:
            i = 0
            while i < features:
                total += phi[i] * z[i]
                i += 1
        sums[0] = total
        left = 0
        right = 0
        m = 0
        if total:
            n = 0
            while (total >> n) > 1:
                n += 1
            n -= 15
            if n > 0:
                m = total >> n
            else:
                m = total << (0 - n)
            m = (num + (m >> 1)) // m
            n -= p
            if n > 0:
                right = n
            else:
                left = 0 - n
        kv = ptr32(state)
        j = 0
        while j < head_dim:
            acc = 0
            f = phi
            n = features >> 3
            while n:
                acc = kv[0] * f[0] + acc
                acc = kv[1] * f[1] + acc
                acc = kv[2] * f[2] + acc
                acc = kv[3] * f[3] + acc
                acc = kv[4] * f[4] + acc
                acc = kv[5] * f[5] + acc
                acc = kv[6] * f[6] + acc
                acc = kv[7] * f[7] + acc
                kv = ptr32(int(kv) + 32)
                f = ptr16(int(f) + 16)
                n -= 1
            n = features & 7
            while n:
                acc = kv[0] * f[0] + acc
                kv = ptr32(int(kv) + 4)
                f = ptr16(int(f) + 2)
                n -= 1
            acc = (((acc & mask) ^ sign) - sign) << left >> right
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 127:
                acc = 127
            elif acc < -127:
                acc = -127
            out[j] = acc
            j += 1
        phi = ptr16(int(phi) + (features << 1))
        sums = ptr32(int(sums) + 4)
        out = ptr8(int(out) + head_dim)
        rows -= 1
