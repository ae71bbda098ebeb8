# Softmax attention in which each query sees one contiguous range of the keys: ranges uint16
# [rows, 2] holds, for each row of a block, the first key and how many. `width` is the room for one
# row.
import micropython


@micropython.viper
def ranges(local: ptr16, distant: ptr16, indices: ptr16, count: int, first: int, rows: int,
           seq_len: int, back: int, ahead: int, causal: int):
    # Of the rows first..: the keys from `back` before to `ahead` behind each, and all of the
    # `count` rising indices, or those up to the row where causal
    seen = count
    if causal:
        seen = 0
    while rows:
        start = first - back
        if start < 0:
            start = 0
        end = first + ahead + 1
        if end > seq_len:
            end = seq_len
        local[0] = start
        local[1] = end - start
        while seen < count and indices[seen] <= first:
            seen += 1
        distant[0] = 0
        distant[1] = seen
        local = ptr16(int(local) + 4)
        distant = ptr16(int(distant) + 4)
        first += 1
        rows -= 1


@micropython.viper
def gather(keys: ptr8, sums: ptr32, values: ptr8, indices: ptr16, out_keys: ptr8, out_sums: ptr32,
           out_values: ptr8, count: int, seq_len: int, head_dim: int):
    # Packed keys and values (see attention.py) of the tokens in indices
    j = 0
    while j < count:
        t = indices[j]
        out_sums[j] = sums[t]
        k = ptr8(int(keys) + t * head_dim)
        v = ptr8(int(values) + t)
        o = ptr8(int(out_values) + j)
        i = 0
        while i < head_dim:
            out_keys[i] = k[i]
            o[0] = v[0]
            v = ptr8(int(v) + seq_len)
            o = ptr8(int(o) + count)
            i += 1
        out_keys = ptr8(int(out_keys) + head_dim)
        j += 1


@micropython.viper
def scores(k: ptr8, acc: int, q: ptr8, sums: ptr32, ranges: ptr16, out: ptr32, row: ptr8,
           first: int, rows: int, width: int, head_dim: int):
    # out[r, j] = q[first + r] . k[start + j] for the keys of the row's range; k is packed, `row` is
    # room for head_dim bytes
    keys = int(k)
    q = ptr8(int(q) + first * head_dim)
    while rows:
        total = 0
        i = 0
        while i < head_dim:
            b = q[i] ^ 128
            row[i] = b
            total += b
            i += 1
        total = (total << 7) - (head_dim << 14)
        start = ranges[0]
        k = ptr8(keys + start * head_dim)
        count = ranges[1]
        j = 0
        while j < count:
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
            out[j] = acc - sums[start + j] - total
            j += 1
        q = ptr8(int(q) + head_dim)
        ranges = ptr16(int(ranges) + 4)
        out = ptr32(int(out) + (width << 2))
        rows -= 1


@micropython.viper
def hide(scores: ptr32, mask: ptr8, at: int, step: int, ranges: ptr16, indices: ptr16, chosen: int,
         first: int, rows: int, width: int):
    # scores[r, j] = -2**30 where mask[at + (first + r)*step + key] is not 0; key is start + j or,
    # where these are `chosen`, indices[start + j]
    masked = -1
    masked <<= 30
    mask = ptr8(int(mask) + at + first * step)
    while rows:
        key = ranges[0]
        n = ranges[1]
        j = 0
        while j < n:
            at = key
            if chosen:
                at = indices[key]
            if mask[at]:
                scores[j] = masked
            key += 1
            j += 1
        mask = ptr8(int(mask) + step)
        ranges = ptr16(int(ranges) + 4)
        scores = ptr32(int(scores) + (width << 2))
        rows -= 1


@micropython.viper
def softmax(scores: ptr32, x: int, ranges: ptr16, out: ptr16, sums: ptr32, table: ptr16,
            rows: int, width: int, mult: int, shift: int, limit: int):
    # As in attention.py: numerators in Q15, their sum per row; 0 in a row without keys that are
    # not hidden
    sign = 1
    sign <<= 31
    half = (1 << shift) >> 1
    while rows:
        count = ranges[1]
        largest = 0 - (1 << 30)
        j = 0
        while j < count:
            x = (scores[j] ^ sign) - sign
            if x > largest:
                largest = x
            j += 1
        shown = count
        if largest == 0 - (1 << 30):
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
        while j < count:
            out[j] = 0
            j += 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        ranges = ptr16(int(ranges) + 4)
        scores = ptr32(int(scores) + (width << 2))
        out = ptr16(int(out) + (width << 1))
        rows -= 1


@micropython.viper
def weighted_sum(v: ptr8, acc: int, weights: ptr16, sums: ptr32, ranges: ptr16, out: ptr16,
                 rows: int, keys: int, width: int, head_dim: int, num: int, shift: int):
    # out[r, i] = sum_j weights[r, j]*v[start + j, i] / sums[r] * num/2**shift, int16; zeros where
    # the sum is 0. v is packed [head_dim, keys]. The offset's sum may wrap, see attention.py.
    values = int(v)
    s = shift - 16
    while rows:
        total = sums[0]
        count = ranges[1]
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        if m:
            m = (num + (m >> 1)) // m
        total <<= 7
        start = values + ranges[0]
        i = 0
        while i < head_dim:
            v = ptr8(start)
            acc = 0
            w = weights
            n = count >> 3
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
            n = count & 7
            while n:
                acc = v[0] * w[0] + acc
                v = ptr8(int(v) + 1)
                w = ptr16(int(w) + 2)
                n -= 1
            acc = (acc - total) >> p
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 32767:
                acc = 32767
            elif acc < -32767:
                acc = -32767
            out[i] = acc
            start += keys
            i += 1
        weights = ptr16(int(weights) + (width << 1))
        sums = ptr32(int(sums) + 4)
        ranges = ptr16(int(ranges) + 4)
        out = ptr16(int(out) + (head_dim << 1))
        rows -= 1


@micropython.viper
def blend(local: ptr16, x: int, distant: ptr16, gate: ptr16, out: ptr8, first: int, rows: int,
          head_dim: int):
    # out[first + r] = gate*local + (1 - gate)*distant, the gate in Q15 and both with 5 more bits
    # than out
    out = ptr8(int(out) + first * head_dim)
    while rows:
        i = 0
        while i < head_dim:
            g = gate[i]
            x = ((local[i] ^ 32768) - 32768) * g
            x = ((distant[i] ^ 32768) - 32768) * (32768 - g) + x
            x = (x + (1 << 19)) >> 20
            if x > 127:
                x = 127
            elif x < -127:
                x = -127
            out[i] = x
            i += 1
        local = ptr16(int(local) + (head_dim << 1))
        distant = ptr16(int(distant) + (head_dim << 1))
        out = ptr8(int(out) + head_dim)
        rows -= 1
