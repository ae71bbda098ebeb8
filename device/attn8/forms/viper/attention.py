# Exact softmax attention over one head, in steps: pack, scores, softmax, weighted sum.
import micropython


def room(keys, head_dim):
    # Packed keys, their sums, packed values, a query
    size = keys * head_dim
    return size, 4 * keys, size, head_dim


@micropython.viper
def pack_keys(k: ptr8, packed: ptr8, sums: ptr32, keys: int, head_dim: int):
    # packed = k + 128 [keys, head_dim]; sums[j] = 128*sum_i packed[j, i], to take off each score
    while keys:
        total = 0
        n = head_dim
        while n:
            b = k[0] ^ 128
            packed[0] = b
            total += b
            k = ptr8(int(k) + 1)
            packed = ptr8(int(packed) + 1)
            n -= 1
        sums[0] = total << 7
        sums = ptr32(int(sums) + 4)
        keys -= 1


@micropython.viper
def pack_values(v: ptr8, packed: ptr8, keys: int, head_dim: int):
    # packed = transpose(v + 128) [head_dim, keys]: the weighted sum then streams both operands
    i = 0
    while i < head_dim:
        source = ptr8(int(v) + i)
        n = keys
        while n:
            packed[0] = source[0] ^ 128
            packed = ptr8(int(packed) + 1)
            source = ptr8(int(source) + head_dim)
            n -= 1
        i += 1


@micropython.viper
def scores(k: ptr8, acc: int, q: ptr8, sums: ptr32, out: ptr32, row: ptr8,
           first: int, rows: int, keys: int, head_dim: int, causal: int):
    # For rows first..first + rows - 1 of q: out[r, j] = sum_i q[r, i]*k[j, i], and -2**30 where
    # causal and j > r. k is packed; `row` is room for head_dim bytes; out holds these rows alone.
    masked = -1
    masked <<= 30
    start = int(k)
    q = ptr8(int(q) + first * head_dim)
    visible = keys
    if causal:
        visible = first + 1
    while rows:
        total = 0
        i = 0
        while i < head_dim:
            b = q[i] ^ 128
            row[i] = b
            total += b
            i += 1
        total = (total << 7) - (head_dim << 14)
        k = ptr8(start)
        j = 0
        while j < visible:
            acc = 0
            r = row
            n = head_dim >> 3
            while n:
                acc = k[0] * r[0] + acc
                acc = k[1] * r[1] + acc
                acc = k[2] * r[2] + acc
                acc = k[3] * r[3] + acc
                acc = k[4] * r[4] + acc
                acc = k[5] * r[5] + acc
                acc = k[6] * r[6] + acc
                acc = k[7] * r[7] + acc
                k = ptr8(int(k) + 8)
                r = ptr8(int(r) + 8)
                n -= 1
            n = head_dim & 7
            while n:
                acc = k[0] * r[0] + acc
                k = ptr8(int(k) + 1)
                r = ptr8(int(r) + 1)
                n -= 1
            out[j] = acc - sums[j] - total
            j += 1
        while j < keys:
            out[j] = masked
            j += 1
        q = ptr8(int(q) + head_dim)
        out = ptr32(int(out) + (keys << 2))
        visible += causal
        rows -= 1


@micropython.viper
def mask_keys(scores: ptr32, mask: ptr8, rows: int, keys: int):
    # scores[r, j] = -2**30 where mask[j] is not 0: below every score, and its distance to the
    # largest one stays in int32
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
def softmax(scores: ptr32, x: int, out: ptr16, sums: ptr32, table: ptr16, first: int, rows: int,
            keys: int, causal: int, mult: int, shift: int, limit: int):
    # Softmax numerators in Q15: out[r, j] = 2**(15 - t/256), t = 256*log2(e)*scale*(max - score),
    # and sums[r] = sum_j out[r, j]. The largest score gives 32768; beyond `limit` it gives 0. A row
    # with every key masked gives zeros.
    sign = 1
    sign <<= 31
    masked = -1
    masked <<= 30
    half = (1 << shift) >> 1
    visible = keys
    if causal:
        visible = first + 1
    while rows:
        largest = (scores[0] ^ sign) - sign
        j = 1
        while j < visible:
            x = (scores[j] ^ sign) - sign
            if x > largest:
                largest = x
            j += 1
        shown = visible
        if largest == masked:
            shown = 0
        total = 0
        j = 0
        while j < shown:
            x = largest - ((scores[j] ^ sign) - sign)
            if x > limit:
                x = 0
            else:
                x = (x * mult + half) >> shift
                x = ((table[x & 255] >> (x >> 8)) + 1) >> 1
            out[j] = x
            total += x
            j += 1
        while j < keys:
            out[j] = 0
            j += 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        scores = ptr32(int(scores) + (keys << 2))
        out = ptr16(int(out) + (keys << 1))
        visible += causal
        rows -= 1


@micropython.viper
def weighted_sum(v: ptr8, acc: int, weights: ptr16, sums: ptr32, out: ptr8, first: int,
                 rows: int, keys: int, stride: int, head_dim: int, num: int, shift: int):
    # out[first + r, i] = sum_j weights[r, j]*v[j, i] / sums[r] * num/2**shift, one division a row;
    # zeros where the sum is 0. v is packed [head_dim, stride], of which the first `keys` count. The
    # offset's sum may pass 2**31 for over 257 keys; it is taken off again modulo 2**32, and the
    # true sum stays below 2**31 for up to 516 keys.
    start = int(v)
    stride -= keys
    s = shift - 16
    out = ptr8(int(out) + first * head_dim)
    while rows:
        total = sums[0]
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        if m:
            m = (num + (m >> 1)) // m
        total <<= 7
        v = ptr8(start)
        i = 0
        while i < head_dim:
            acc = 0
            w = weights
            n = keys >> 3
            while n:
                acc = v[0] * w[0] + acc
                acc = v[1] * w[1] + acc
                acc = v[2] * w[2] + acc
                acc = v[3] * w[3] + acc
                acc = v[4] * w[4] + acc
                acc = v[5] * w[5] + acc
                acc = v[6] * w[6] + acc
                acc = v[7] * w[7] + acc
                v = ptr8(int(v) + 8)
                w = ptr16(int(w) + 16)
                n -= 1
            n = keys & 7
            while n:
                acc = v[0] * w[0] + acc
                v = ptr8(int(v) + 1)
                w = ptr16(int(w) + 2)
                n -= 1
            v = ptr8(int(v) + stride)
            acc = (acc - total) >> p
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 127:
                acc = 127
            elif acc < -127:
                acc = -127
            out[i] = acc
            i += 1
        weights = ptr16(int(weights) + (keys << 1))
        sums = ptr32(int(sums) + 4)
        out = ptr8(int(out) + head_dim)
        rows -= 1
