# The steps of the original ESP32 attention (cores/micro.py), one row of scores at a time.
import micropython


@micropython.viper
def compute_scores(k: ptr8, acc: int, q: ptr8, scores: ptr32, row: int, keys: int, first: int,
                   head_dim: int, shift: int):
    # scores[row, j] = sum_i q[first, i]*k[j, i] >> shift
    q = ptr8(int(q) + first * head_dim)
    scores = ptr32(int(scores) + ((row * keys) << 2))
    while keys:
        acc = 0
        i = 0
        while i < head_dim:
            acc = ((q[i] ^ 128) - 128) * ((k[i] ^ 128) - 128) + acc
            i += 1
        scores[0] = acc >> shift
        scores = ptr32(int(scores) + 4)
        k = ptr8(int(k) + head_dim)
        keys -= 1


@micropython.viper
def apply_causal_mask(scores: ptr32, row: int, keys: int, position: int):
    masked = 0 - (1 << 30)
    scores = ptr32(int(scores) + ((row * keys) << 2))
    position += 1
    while position < keys:
        scores[position] = masked
        position += 1


@micropython.viper
def apply_padding_mask(scores: ptr32, row: int, keys: int, mask: ptr8, at: int):
    masked = 0 - (1 << 30)
    scores = ptr32(int(scores) + ((row * keys) << 2))
    mask = ptr8(int(mask) + at)
    i = 0
    while i < keys:
        if mask[i]:
            scores[i] = masked
        i += 1


@micropython.viper
def softmax_fixed(scores: ptr32, x: int, row: int, keys: int):
    # In place: 256 - difference/2, at least 1, over the sum, times 256; all truncated
    sign = 1
    sign <<= 31
    scores = ptr32(int(scores) + ((row * keys) << 2))
    largest = (scores[0] ^ sign) - sign
    i = 1
    while i < keys:
        x = (scores[i] ^ sign) - sign
        if x > largest:
            largest = x
        i += 1
    total = 0
    i = 0
    while i < keys:
        x = largest - ((scores[i] ^ sign) - sign)
        # Below 0 the difference has left int32, which is a large one as well
        if x < 0 or x > 510:
            x = 510
        x = 256 - (x >> 1)
        scores[i] = x
        total += x
        i += 1
    i = 0
    while i < keys:
        scores[i] = (scores[i] << 8) // total
        i += 1


@micropython.viper
def weighted_sum(v: ptr8, acc: int, weights: ptr32, out: ptr32, row: int, keys: int, head_dim: int):
    # out[i] = sum_j weights[row, j]*v[j, i] >> 8
    start = int(v)
    weights = ptr32(int(weights) + ((row * keys) << 2))
    i = 0
    while i < head_dim:
        v = ptr8(start + i)
        acc = 0
        j = 0
        while j < keys:
            acc = weights[j] * ((v[0] ^ 128) - 128) + acc
            v = ptr8(int(v) + head_dim)
            j += 1
        out[i] = acc >> 8
        i += 1


@micropython.viper
def narrow(x: ptr32, out: ptr8, first: int, n: int):
    # out[first, :] = x, as int8
    out = ptr8(int(out) + first * n)
    i = 0
    while i < n:
        out[i] = x[i]
        i += 1
