# Softmax of training's fixed point and its gradient (see attn8/kernels/fixed.py).
import micropython


@micropython.viper
def softmax(scores: ptr32, x: int, out: ptr32, offset: int, table: ptr16, rows: int, columns: int,
            mult: int, shift: int, up: int, limit: int) -> int:
    # out[r, j] = 2**-t / sum_j 2**-t, in words with 16 - up fractional bits, t being
    # (max_j score - score) * 2**up * mult/2**shift in 2**-15 octaves; beyond `limit` it gives 0.
    # 2**-t comes from a table of one octave, interpolated. Returns the last row's sum in Q15.
    sign = 1
    sign <<= 31
    shift -= 15
    high = (1 << shift) >> 1
    low = 0
    if shift == 0:
        low = 16384
    total = 0
    out = ptr32(int(out) + (offset << 2))
    while rows:
        largest = (scores[0] ^ sign) - sign
        j = 1
        while j < columns:
            x = (scores[j] ^ sign) - sign
            if x > largest:
                largest = x
            j += 1
        total = 0
        j = 0
        while j < columns:
            x = largest - ((scores[j] ^ sign) - sign)
            if x > limit:
                x = 0
            else:
                x <<= up
                x = (x >> 15) * mult + (((x & 32767) * mult + low) >> 15)
                x = (x + high) >> shift
                i = (x >> 7) & 255
                y = table[i]
                z = 32768
                if i < 255:
                    z = table[i + 1]
                x = (((y << 7) - (y - z) * (x & 127)) >> (7 + (x >> 15))) + 1
                x >>= 1
            out[j] = x
            total += x
            j += 1
        j = 0
        while j < columns:
            x = ((out[j] << 15) + (total >> 1)) // total
            if up:
                x = (x + (1 << (up - 2))) >> (up - 1)
            else:
                x <<= 1
            out[j] = x
            j += 1
        scores = ptr32(int(scores) + (columns << 2))
        out = ptr32(int(out) + (columns << 2))
        rows -= 1
    return total


@micropython.viper
def softmax_backward(weights: ptr32, acc: int, offset: int, d: ptr32, rows: int, columns: int,
                     up: int, mult: int, shift: int, limit: int, count: ptr32):
    # In place: d = weights * (d - sum_j d*weights) * mult/2**shift, row by row. The weights lie
    # in 0..1; they multiply as Q15.
    sign = 1
    sign <<= 31
    shift -= 15
    high = (1 << shift) >> 1
    low = 0
    if shift == 0:
        low = 16384
    weights = ptr32(int(weights) + (offset << 2))
    while rows:
        total = 0
        j = 0
        while j < columns:
            acc = (d[j] ^ sign) - sign
            w = (weights[j] << up) >> 1
            total += (acc >> 15) * w + (((acc & 32767) * w + 16384) >> 15)
            if total > limit:
                total = limit
                count[0] = count[0] + 1
            elif total < 0 - limit:
                total = 0 - limit
                count[0] = count[0] + 1
            j += 1
        j = 0
        while j < columns:
            acc = (d[j] ^ sign) - sign - total
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            w = (weights[j] << up) >> 1
            acc = (acc >> 15) * w + (((acc & 32767) * w + 16384) >> 15)
            acc = (acc >> 15) * mult + (((acc & 32767) * mult + low) >> 15)
            d[j] = (acc + high) >> shift
            j += 1
        weights = ptr32(int(weights) + (columns << 2))
        d = ptr32(int(d) + (columns << 2))
        rows -= 1
