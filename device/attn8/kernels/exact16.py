# Softmax attention over one head in int16, in steps: pack, scores, softmax, weighted sum. Operands
# are offset to 0..65535. Sums of scores wrap at 2**32, which is harmless: offsets are taken off
# modulo 2**32, and what is left fits.
import micropython


def room(keys, head_dim):
    # Packed keys, their sums, packed values, a query
    size = 2 * keys * head_dim
    return size, 4 * keys, size, 2 * head_dim


@micropython.viper
def pack_keys16(k: ptr16, packed: ptr16, sums: ptr32, keys: int, head_dim: int):
    # packed = k + 32768 [keys, head_dim]; sums[j] = 32768*sum_i packed[j, i]
    while keys:
        total = 0
        n = head_dim
        while n:
            b = k[0] ^ 32768
            packed[0] = b
            total += b
            k = ptr16(int(k) + 2)
            packed = ptr16(int(packed) + 2)
            n -= 1
        sums[0] = total << 15
        sums = ptr32(int(sums) + 4)
        keys -= 1


@micropython.viper
def pack_values16(v: ptr16, packed: ptr16, keys: int, head_dim: int):
    # packed = transpose(v + 32768) [head_dim, keys]
    i = 0
    while i < head_dim:
        source = ptr16(int(v) + (i << 1))
        n = keys
        while n:
            packed[0] = source[0] ^ 32768
            packed = ptr16(int(packed) + 2)
            source = ptr16(int(source) + (head_dim << 1))
            n -= 1
        i += 1


@micropython.viper
def scores(k: ptr16, acc: int, q: ptr16, sums: ptr32, out: ptr32, row: ptr16, first: int,
           rows: int, keys: int, head_dim: int, causal: int):
    # For rows first..first + rows - 1 of q: out[r, j] = sum_i q[r, i]*k[j, i], and -2**30 where
    # causal and j > r. k is packed; `row` is room for head_dim halfwords.
    masked = -1
    masked <<= 30
    start = int(k)
    q = ptr16(int(q) + ((first * head_dim) << 1))
    visible = keys
    if causal:
        visible = first + 1
    while rows:
        total = 0
        i = 0
        while i < head_dim:
            b = q[i] ^ 32768
            row[i] = b
            total += b - 32768
            i += 1
        total <<= 15
        k = ptr16(start)
        j = 0
        while j < visible:
            acc = 0
            r = row
            n = head_dim >> 2
            while n:
                acc = k[0] * r[0] + acc
                acc = k[1] * r[1] + acc
                acc = k[2] * r[2] + acc
                acc = k[3] * r[3] + acc
                k = ptr16(int(k) + 8)
                r = ptr16(int(r) + 8)
                n -= 1
            n = head_dim & 3
            while n:
                acc = k[0] * r[0] + acc
                k = ptr16(int(k) + 2)
                r = ptr16(int(r) + 2)
                n -= 1
            out[j] = acc - sums[j] - total
            j += 1
        while j < keys:
            out[j] = masked
            j += 1
        q = ptr16(int(q) + (head_dim << 1))
        out = ptr32(int(out) + (keys << 2))
        visible += causal
        rows -= 1


@micropython.viper
def mask_keys(scores: ptr32, mask: ptr8, rows: int, keys: int):
    # scores[r, j] = -2**30 where mask[j] is not 0
    masked = -1
    masked <<= 30
    while rows:
        j = 0
        while j < keys:
            if mask[j]:
                scores[j] = masked
            j += 1
        scores = ptr32(int(scores) + (keys << 2))
        rows -= 1


@micropython.viper
def softmax(scores: ptr32, x: int, out: ptr16, sums: ptr32, table: ptr16, rows: int, keys: int,
            mult: int, shift: int):
    # Softmax weights: numerators 2**(15 - t/2**14), t = requant(max - score; mult, shift), 0 from
    # 16 octaves on, and then each row brought to about 32256 in all; sums[r] = sum_j out[r, j]. A
    # score of -2**30 gives 0.
    sign = 1
    sign <<= 31
    masked = -1
    masked <<= 30
    s = shift - 16
    while rows:
        largest = masked
        j = 0
        while j < keys:
            x = (scores[j] ^ sign) - sign
            if x > largest:
                largest = x
            j += 1
        total = 0
        j = 0
        while j < keys:
            x = (scores[j] ^ sign) - sign
            if x == masked:
                x = 0
            else:
                x = largest - x
                x = (x >> 15) * mult + (((x & 32767) * mult) >> 15)
                x = (x + (1 << s)) >> (s + 1)
                if x >> 18:
                    x = 0
                else:
                    i = (x >> 6) & 255
                    y = table[i]
                    below = 32768
                    if i < 255:
                        below = table[i + 1]
                    x = (((y - (((y - below) * (x & 63)) >> 6)) >> (x >> 14)) + 1) >> 1
            out[j] = x
            total += x
            j += 1
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        if m:
            m = ((63 << 24) + (m >> 1)) // m
        total = 0
        p += 15
        half = (1 << p) >> 1
        j = 0
        while j < keys:
            x = (out[j] * m + half) >> p
            out[j] = x
            total += x
            j += 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        scores = ptr32(int(scores) + (keys << 2))
        out = ptr16(int(out) + (keys << 1))
        rows -= 1


@micropython.viper
def weighted_sum(v: ptr16, acc: int, weights: ptr16, sums: ptr32, out: ptr16, first: int,
                 rows: int, keys: int, stride: int, head_dim: int, num: int, shift: int):
    # out[first + r, i] = sum_j weights[r, j]*v[j, i] / sums[r] * num/2**shift; zeros where the sum
    # is 0. v is packed [head_dim, stride], of which the first `keys` count; weights in all are
    # below 2**15, so the sum stays in 31 bits with its offset.
    start = int(v)
    stride = (stride - keys) << 1
    s = shift - 16
    out = ptr16(int(out) + ((first * head_dim) << 1))
    while rows:
        total = sums[0]
        m = total
        if m:
            m = (num + (m >> 1)) // m
        total <<= 15
        v = ptr16(start)
        i = 0
        while i < head_dim:
            acc = 0
            w = weights
            n = keys >> 2
            while n:
                acc = v[0] * w[0] + acc
                acc = v[1] * w[1] + acc
                acc = v[2] * w[2] + acc
                acc = v[3] * w[3] + acc
                v = ptr16(int(v) + 8)
                w = ptr16(int(w) + 8)
                n -= 1
            n = keys & 3
            while n:
                acc = v[0] * w[0] + acc
                v = ptr16(int(v) + 2)
                w = ptr16(int(w) + 2)
                n -= 1
            v = ptr16(int(v) + stride)
            acc = acc - total
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 32767:
                acc = 32767
            elif acc < -32767:
                acc = -32767
            out[i] = acc
            i += 1
        weights = ptr16(int(weights) + (keys << 1))
        sums = ptr32(int(sums) + 4)
        out = ptr16(int(out) + (head_dim << 1))
        rows -= 1
