# Softmax attention over listed pairs only. For a block of rows `pairs` holds (key, weight) for each
# key that a query sees, row after row, and counts[r] says how many they are; scores are alongside.
import micropython

from ... import tables
from .attention import pack_keys

KEEPS = True  # whether scores, weights and their sums of the last rows stay, in arrays of the core


def room(keys, head_dim):
    # Packed keys, their sums, packed values; eight columns of a row
    size = keys * head_dim
    return size, 4 * keys, size, 32


def most_percent(head_dim):
    # Of the pairs, that a mask may show: with more the dense kernels are faster. Instructions a
    # pair on Xtensa; on RISC-V they are to each other as here.
    pair = 95 + 237 * (head_dim >> 3) + 99 * (head_dim & 7)
    return min(94, 100 * (220 + 26 * head_dim) // pair)


def attend(core, parts, q, k, v, out):
    # One head; `core` says how large it is, and its constants and pairs (see cores/sparse.py)
    n = core.seq_len
    d = core.head_dim
    keys, key_sums, values, columns = parts
    pack_keys(k, keys, key_sums, n, d)
    pack_values(v, values, n, d)
    first = 0
    while first < n:
        rows = min(core.block_rows, n - first)
        pairs, counts = core.pairs.listed(first, rows)
        scores(keys, 0, q, key_sums, pairs, counts, core.scores, core.largest, first, rows, d)
        softmax(core.scores, 0, pairs, counts, core.largest, core.sums, tables.EXP2, rows,
                core.score_mult, core.score_shift, core.score_limit)
        weighted_sum(values, 0, pairs, counts, core.sums, columns, out, first, rows, d,
                     core.out_num, core.out_shift)
        first += rows


@micropython.viper
def list_spans(pairs: ptr16, key: int, spans: ptr16, counts: ptr16, offsets: ptr16, stride: int,
               first: int, rows: int):
    # From a mask in spans, (start, end) pairs of which row i has offsets[i] to offsets[i + 1];
    # stride is not used
    offsets = ptr16(int(offsets) + (first << 1))
    spans = ptr16(int(spans) + (offsets[0] << 2))
    while rows:
        n = offsets[1] - offsets[0]
        begin = int(pairs)
        while n:
            key = spans[0]
            end = spans[1]
            while key < end:
                pairs[0] = key
                pairs = ptr16(int(pairs) + 4)
                key += 1
            spans = ptr16(int(spans) + 4)
            n -= 1
        counts[0] = (int(pairs) - begin) >> 2
        counts = ptr16(int(counts) + 2)
        offsets = ptr16(int(offsets) + 2)
        rows -= 1


@micropython.viper
def list_bits(pairs: ptr16, b: int, bits: ptr8, counts: ptr16, offsets: ptr16, stride: int,
              first: int, rows: int):
    # From a packed mask, rows of `stride` bytes: key j is bit j & 7 of byte j >> 3; offsets are not
    # used
    bits = ptr8(int(bits) + first * stride)
    while rows:
        begin = int(pairs)
        key = 0
        n = stride
        while n:
            b = bits[0]
            if b:
                if b & 1:
                    pairs[0] = key
                    pairs = ptr16(int(pairs) + 4)
                if b & 2:
                    pairs[0] = key + 1
                    pairs = ptr16(int(pairs) + 4)
                if b & 4:
                    pairs[0] = key + 2
                    pairs = ptr16(int(pairs) + 4)
                if b & 8:
                    pairs[0] = key + 3
                    pairs = ptr16(int(pairs) + 4)
                if b & 16:
                    pairs[0] = key + 4
                    pairs = ptr16(int(pairs) + 4)
                if b & 32:
                    pairs[0] = key + 5
                    pairs = ptr16(int(pairs) + 4)
                if b & 64:
                    pairs[0] = key + 6
                    pairs = ptr16(int(pairs) + 4)
                if b & 128:
                    pairs[0] = key + 7
                    pairs = ptr16(int(pairs) + 4)
            bits = ptr8(int(bits) + 1)
            key += 8
            n -= 1
        counts[0] = (int(pairs) - begin) >> 2
        counts = ptr16(int(counts) + 2)
        rows -= 1


@micropython.viper
def pack_values(v: ptr8, packed: ptr8, keys: int, head_dim: int):
    # packed = v + 128 [keys, head_dim]
    n = keys * head_dim
    rest = n & 7
    n >>= 3
    while n:
        packed[0] = v[0] ^ 128
        packed[1] = v[1] ^ 128
        packed[2] = v[2] ^ 128
        packed[3] = v[3] ^ 128
        packed[4] = v[4] ^ 128
        packed[5] = v[5] ^ 128
        packed[6] = v[6] ^ 128
        packed[7] = v[7] ^ 128
        v = ptr8(int(v) + 8)
        packed = ptr8(int(packed) + 8)
        n -= 1
    while rest:
        packed[0] = v[0] ^ 128
        v = ptr8(int(v) + 1)
        packed = ptr8(int(packed) + 1)
        rest -= 1


@micropython.viper
def scores(k: ptr8, acc: int, q: ptr8, key_sums: ptr32, pairs: ptr16, counts: ptr16, out: ptr32,
           largest: ptr32, first: int, rows: int, head_dim: int):
    # out = q[first + r] . k[key] for the listed keys, and the largest of each row. k is packed.
    # Eight dimensions of q are held while the keys go by, or one where fewer are left; what their
    # offset adds is `offset`. The sum so far wraps in `out` without harm.
    sign = 1
    sign <<= 31
    start = int(k)
    q = ptr8(int(q) + first * head_dim)
    while rows:
        i = 0
        while i < head_dim:
            at = start + i
            pair = pairs
            o = out
            n = counts[0]
            top = 0 - sign
            x0 = q[0] ^ 128
            if i + 8 <= head_dim:
                x1 = q[1] ^ 128
                x2 = q[2] ^ 128
                x3 = q[3] ^ 128
                x4 = q[4] ^ 128
                x5 = q[5] ^ 128
                x6 = q[6] ^ 128
                x7 = q[7] ^ 128
                offset = ((x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7) << 7) - (8 << 14)
                while n:
                    k = ptr8(pair[0] * head_dim + at)
                    if i:
                        acc = (o[0] ^ sign) - sign
                    else:
                        acc = 0 - key_sums[pair[0]]
                    acc = k[0] * x0 + acc
                    acc = k[1] * x1 + acc
                    acc = k[2] * x2 + acc
                    acc = k[3] * x3 + acc
                    acc = k[4] * x4 + acc
                    acc = k[5] * x5 + acc
                    acc = k[6] * x6 + acc
                    acc = k[7] * x7 + acc
                    acc -= offset
                    if acc > top:
                        top = acc
                    o[0] = acc
                    o = ptr32(int(o) + 4)
                    pair = ptr16(int(pair) + 4)
                    n -= 1
                n = 8
            else:
                offset = (x0 << 7) - (1 << 14)
                while n:
                    k = ptr8(pair[0] * head_dim + at)
                    if i:
                        acc = (o[0] ^ sign) - sign
                    else:
                        acc = 0 - key_sums[pair[0]]
                    acc = k[0] * x0 + acc - offset
                    if acc > top:
                        top = acc
                    o[0] = acc
                    o = ptr32(int(o) + 4)
                    pair = ptr16(int(pair) + 4)
                    n -= 1
                n = 1
            q = ptr8(int(q) + n)
            i += n
        n = counts[0]
        pairs = ptr16(int(pairs) + (n << 2))
        out = ptr32(int(out) + (n << 2))
        largest[0] = top
        largest = ptr32(int(largest) + 4)
        counts = ptr16(int(counts) + 2)
        rows -= 1


@micropython.viper
def softmax(scores: ptr32, x: int, pairs: ptr16, counts: ptr16, largest: ptr32, sums: ptr32,
            table: ptr16, rows: int, mult: int, shift: int, limit: int):
    # The weights: softmax numerators in Q15 as in the exact core; and the sum of each row. Scores
    # differ by less than 2**31: `mask` keeps 32 bits of a 64-bit word, and all of a chip's.
    mask = 1
    mask <<= 31
    mask = (mask << 1) - 1
    half = (1 << shift) >> 1
    while rows:
        top = largest[0]
        total = 0
        n = counts[0]
        while n:
            x = (top - scores[0]) & mask
            if x > limit:
                x = 0
            else:
                x = (x * mult + half) >> shift
                x = ((table[x & 255] >> (x >> 8)) + 1) >> 1
            pairs[1] = x
            total += x
            scores = ptr32(int(scores) + 4)
            pairs = ptr16(int(pairs) + 4)
            n -= 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        largest = ptr32(int(largest) + 4)
        counts = ptr16(int(counts) + 2)
        rows -= 1


@micropython.viper
def weighted_sum(v: ptr8, x: int, pairs: ptr16, counts: ptr16, sums: ptr32, room: ptr32, out: ptr8,
                 first: int, rows: int, head_dim: int, num: int, shift: int):
    # out[first + r] = sum of weight * v[key] over the listed keys / sums[r] * num/2**shift, one
    # division a row; zeros for a row without keys. v is packed [seq_len, head_dim]; its offset is
    # taken off modulo 2**32. Eight dimensions are summed at a time; `room` is for 8 words.
    sign = 1
    sign <<= 31
    start = int(v)
    shift -= 15
    half = (1 << shift) >> 1
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
        i = 0
        while i < head_dim:
            at = start + i
            pair = pairs
            n = counts[0]
            a0 = 0 - total
            if i + 8 <= head_dim:
                a1 = a0
                a2 = a0
                a3 = a0
                a4 = a0
                a5 = a0
                a6 = a0
                a7 = a0
                while n:
                    v = ptr8(pair[0] * head_dim + at)
                    x = pair[1]
                    a0 = v[0] * x + a0
                    a1 = v[1] * x + a1
                    a2 = v[2] * x + a2
                    a3 = v[3] * x + a3
                    a4 = v[4] * x + a4
                    a5 = v[5] * x + a5
                    a6 = v[6] * x + a6
                    a7 = v[7] * x + a7
                    pair = ptr16(int(pair) + 4)
                    n -= 1
                room[1] = a1
                room[2] = a2
                room[3] = a3
                room[4] = a4
                room[5] = a5
                room[6] = a6
                room[7] = a7
                n = 8
            else:
                while n:
                    v = ptr8(pair[0] * head_dim + at)
                    a0 = v[0] * pair[1] + a0
                    pair = ptr16(int(pair) + 4)
                    n -= 1
                n = 1
            room[0] = a0
            i += n
            done = 0
            while done < n:
                x = ((room[done] ^ sign) - sign) >> p
                x = (x >> 15) * m + (((x & 32767) * m) >> 15)
                x = (x + half) >> shift
                if x > 127:
                    x = 127
                elif x < -127:
                    x = -127
                out[0] = x
                out = ptr8(int(out) + 1)
                done += 1
        pairs = ptr16(int(pairs) + (counts[0] << 2))
        sums = ptr32(int(sums) + 4)
        counts = ptr16(int(counts) + 2)
        rows -= 1
