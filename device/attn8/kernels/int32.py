# Results of attention that are not narrowed to int8, for who asks for them or narrows them later:
# the ends of forms/viper/attention.weighted_sum and linear.attend.
import micropython


@micropython.viper
def weighted_sum(v: ptr8, acc: int, weights: ptr16, sums: ptr32, out: ptr32, keys: int, stride: int,
                 head_dim: int, num: int, shift: int):
    # Of one row: out[i] = sum_j weights[j]*v[j, i] / sums[0] * num/2**shift
    stride -= keys
    s = shift - 16
    total = sums[0]
    p = 0
    while (total >> p) >= 65536:
        p += 1
    m = (total + ((1 << p) >> 1)) >> p
    if m:
        m = (num + (m >> 1)) // m
    total <<= 7
    while head_dim:
        acc = 0
        w = weights
        n = keys
        while n:
            acc = v[0] * w[0] + acc
            v = ptr8(int(v) + 1)
            w = ptr16(int(w) + 2)
            n -= 1
        v = ptr8(int(v) + stride)
        acc = (acc - total) >> p
        acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
        out[0] = (acc + (1 << s)) >> (s + 1)
        out = ptr32(int(out) + 4)
        head_dim -= 1


@micropython.viper
def attend(kv: ptr32, acc: int, phi: ptr16, z: ptr32, sums: ptr32, out: ptr32, first: int,
           rows: int, features: int, head_dim: int, p: int, denominator: int, num: int,
           shift: int, down: int):
    # out[first + r, j] = sum_i phi[r, i]*kv[j, i] * 2**p / sums[first + r] * num/2**shift. Where
    # `down` is not 0, sums of 64 features each go down by so many bits before they are added up.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    state = int(kv)
    s = shift - 16
    sums = ptr32(int(sums) + (first << 2))
    out = ptr32(int(out) + ((first * head_dim) << 2))
    while rows:
        total = denominator
        if total == 0:
            acc = 0
            i = 0
            while i < features:
                acc += phi[i] * z[i]
                i += 1
                if down:
                    if (i & 63) == 0:
                        total += acc >> down
                        acc = 0
            total += acc >> down
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
            x = 0
            i = 0
            while i < features:
                acc = kv[i] * phi[i] + acc
                i += 1
                if down:
                    if (i & 63) == 0:
                        x += (((acc & mask) ^ sign) - sign) >> down
                        acc = 0
            kv = ptr32(int(kv) + (features << 2))
            x += (((acc & mask) ^ sign) - sign) >> down
            acc = x << left >> right
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            out[j] = (acc + (1 << s)) >> (s + 1)
            j += 1
        phi = ptr16(int(phi) + (features << 1))
        sums = ptr32(int(sums) + 4)
        out = ptr32(int(out) + (head_dim << 2))
        rows -= 1


@micropython.viper
def clamp(x: ptr32, acc: int, out: ptr8, start: int, n: int):
    # out[start : start + n] = x within +-127
    sign = 1
    sign <<= 31
    out = ptr8(int(out) + start)
    while n:
        acc = (x[0] ^ sign) - sign
        if acc > 127:
            acc = 127
        elif acc < -127:
            acc = -127
        out[0] = acc
        x = ptr32(int(x) + 4)
        out = ptr8(int(out) + 1)
        n -= 1
