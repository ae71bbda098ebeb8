# FAVOR+ attention: features are kept as base-2 logarithms t, in 1/256 octaves, and accumulated
# relative to a running octave per feature. linear.py says how the state is kept; its `attend`
# finishes.
import micropython


@micropython.viper
def logarithms(t: ptr32, acc: int, x: ptr8, first: int, rows: int, features: int, head_dim: int,
               mult: int, shift: int, norm_mult: int, norm_shift: int):
    # In place: t = round(t*mult / 2**shift) - round(|x|**2*norm_mult / 2**norm_shift), rows
    # first.. of x
    sign = 1
    sign <<= 31
    half = (1 << shift) >> 1
    x = ptr8(int(x) + first * head_dim)
    while rows:
        acc = 0
        n = head_dim
        while n:
            b = (x[0] ^ 128) - 128
            acc = b * b + acc
            x = ptr8(int(x) + 1)
            n -= 1
        norm = (acc * norm_mult + ((1 << norm_shift) >> 1)) >> norm_shift
        n = features
        while n:
            acc = (t[0] ^ sign) - sign
            t[0] = ((acc * mult + half) >> shift) - norm
            t = ptr32(int(t) + 4)
            n -= 1
        rows -= 1


@micropython.viper
def accumulate(kv: ptr32, row: ptr8, t: ptr32, v: ptr8, z: ptr32, octaves: ptr32, table: ptr16,
               first: int, tokens: int, features: int, head_dim: int):
    # For tokens first..: e = 2**(t - octave) in Q15, kv[i, j] += e*(v + 128), z[i] += e. Where a
    # logarithm passes a feature's octave, or a sum has no room for another one, the octave rises
    # and halves what was summed before.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    full = 511
    full <<= 15
    state = int(kv)
    offset = int(row)
    v = ptr8(int(v) + first * head_dim)
    while tokens:
        j = 0
        while j < head_dim:
            row[j] = v[j] ^ 128
            j += 1
        kv = ptr32(state)
        i = 0
        while i < features:
            x = (t[i] ^ sign) - sign
            octave = (octaves[i] ^ sign) - sign
            total = z[i]
            k = ((x + 255) >> 8) - octave
            if k < 0:
                k = 0
            octave += k
            if k > 31:
                k = 31
            if (total >> k) > full:
                octave += 1
                k += 1
            if k > 0:
                octaves[i] = octave
                z[i] = total >> k
                j = 0
                while j < head_dim:
                    n = (((kv[0] - (total << 7)) & mask) ^ sign) - sign
                    kv[0] = (n >> k) + ((total >> k) << 7)
                    kv = ptr32(int(kv) + 4)
                    j += 1
                kv = ptr32(int(kv) - (head_dim << 2))
            x = (octave << 8) - x
            k = x >> 8
            if k > 30:
                k = 30
            e = ((table[x & 255] >> k) + 1) >> 1
            z[i] = z[i] + e
            n = head_dim >> 3
            while n:
                kv[0] = row[0] * e + kv[0]
                kv[1] = row[1] * e + kv[1]
                kv[2] = row[2] * e + kv[2]
                kv[3] = row[3] * e + kv[3]
                kv[4] = row[4] * e + kv[4]
                kv[5] = row[5] * e + kv[5]
                kv[6] = row[6] * e + kv[6]
                kv[7] = row[7] * e + kv[7]
                kv = ptr32(int(kv) + 32)
                row = ptr8(int(row) + 8)
                n -= 1
            n = head_dim & 7
            while n:
                kv[0] = row[0] * e + kv[0]
                kv = ptr32(int(kv) + 4)
                row = ptr8(int(row) + 1)
                n -= 1
            row = ptr8(offset)
            i += 1
        t = ptr32(int(t) + (features << 2))
        v = ptr8(int(v) + head_dim)
        tokens -= 1


@micropython.viper
def shrink(kv: ptr32, x: int, z: ptr32, octaves: ptr32, out: ptr32, small_z: ptr32,
           logarithms: ptr32, features: int, head_dim: int):
    # Each feature at a scale of its own: small_z = z >> p below 2**13, out[j, i] = kv rounded to
    # 7 bits fewer than that; `logarithms` gets that scale, for the queries.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    i = 0
    while i < features:
        total = z[i]
        p = 0
        while (total >> p) >= 8192:
            p += 1
        small_z[i] = total >> p
        logarithms[i] = (((octaves[i] ^ sign) - sign) + p) << 8
        p += 7
        half = (1 << p) >> 1
        o = ptr32(int(out) + (i << 2))
        n = head_dim
        while n:
            x = (((kv[0] - (total << 7)) & mask) ^ sign) - sign
            o[0] = (x + half) >> p
            kv = ptr32(int(kv) + 4)
            o = ptr32(int(o) + (features << 2))
            n -= 1
        i += 1


@micropython.viper
def features(t: ptr32, x: int, scales: ptr32, out: ptr16, table: ptr16, rows: int, features: int):
    # out[r, i] = 2**(t + scale - its largest octave in the row) in Q12
    sign = 1
    sign <<= 31
    while rows:
        largest = 0 - (1 << 30)
        i = 0
        while i < features:
            x = (t[i] ^ sign) - sign + (scales[i] ^ sign) - sign
            if x > largest:
                largest = x
            i += 1
        largest = ((largest + 255) >> 8) << 8
        i = 0
        while i < features:
            x = largest - ((t[i] ^ sign) - sign + (scales[i] ^ sign) - sign)
            k = x >> 8
            if k > 30:
                k = 30
            out[i] = ((((table[x & 255] >> k) + 1) >> 1) + 4) >> 3
            i += 1
        t = ptr32(int(t) + (features << 2))
        out = ptr16(int(out) + (features << 1))
        rows -= 1
