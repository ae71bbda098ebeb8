# Exact attention in two passes: the second one gives softmax numerators more bits where a row is
# peaked. It is an option for the few models that need it, and so kept small rather than unrolled.
import micropython

from .attention import mask_keys, pack_keys, pack_values, room, scores, softmax  # noqa: F401


@micropython.viper
def refine(found: ptr32, x: int, sums: ptr32, out: ptr32, fine_sums: ptr32, table: ptr16,
           first: int, rows: int, keys: int, causal: int, mult: int, shift: int, limit: int):
    # As softmax of the scores, whose sums are the input here, with 15 + extra bits: as many as keep
    # each row's sum below 2**24, so that its weighted sum of int8 stays in int32.
    sign = 1
    sign <<= 31
    half = (1 << shift) >> 1
    visible = keys
    if causal:
        visible = first + 1
    while rows:
        extra = 0
        total = sums[0]
        if total:
            while (total >> (23 - extra)) == 0:
                extra += 1
        shown = visible
        if total == 0:
            shown = 0
        largest = (found[0] ^ sign) - sign
        j = 1
        while j < visible:
            x = (found[j] ^ sign) - sign
            if x > largest:
                largest = x
            j += 1
        total = 0
        j = 0
        while j < shown:
            x = largest - ((found[j] ^ sign) - sign)
            if x > limit:
                x = 0
            else:
                x = (x * mult + half) >> shift
                octave = (x >> 8) - extra
                x = table[x & 255]
                if octave > 0:
                    x >>= octave
                else:
                    x <<= 0 - octave
                x = (x + 1) >> 1
            out[j] = x
            total += x
            j += 1
        while j < keys:
            out[j] = 0
            j += 1
        fine_sums[0] = total
        sums = ptr32(int(sums) + 4)
        fine_sums = ptr32(int(fine_sums) + 4)
        found = ptr32(int(found) + (keys << 2))
        out = ptr32(int(out) + (keys << 2))
        visible += causal
        rows -= 1


@micropython.viper
def fine_weighted_sum(v: ptr8, acc: int, weights: ptr32, sums: ptr32, out: ptr8, first: int,
                      rows: int, keys: int, head_dim: int, num: int, shift: int):
    # As attention.weighted_sum, for the weights of `refine`
    start = int(v)
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
            j = 0
            while j < keys:
                acc = v[0] * weights[j] + acc
                v = ptr8(int(v) + 1)
                j += 1
            acc = (acc - total) >> p
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > 127:
                acc = 127
            elif acc < -127:
                acc = -127
            out[i] = acc
            i += 1
        weights = ptr32(int(weights) + (keys << 2))
        sums = ptr32(int(sums) + 4)
        out = ptr8(int(out) + head_dim)
        rows -= 1
