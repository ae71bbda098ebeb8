# What masks hide from attention.
import micropython


@micropython.viper
def hide(scores: ptr32, pair: ptr16, counts: ptr16, rows: int, keys: int):
    # The dense core's mask: scores[r, key] = -2**30 for the listed keys
    masked = -1
    masked <<= 30
    while rows:
        n = counts[0] >> 2
        while n:
            scores[pair[0]] = masked
            scores[pair[2]] = masked
            scores[pair[4]] = masked
            scores[pair[6]] = masked
            pair = ptr16(int(pair) + 16)
            n -= 1
        n = counts[0] & 3
        while n:
            scores[pair[0]] = masked
            pair = ptr16(int(pair) + 4)
            n -= 1
        scores = ptr32(int(scores) + (keys << 2))
        counts = ptr16(int(counts) + 2)
        rows -= 1


@micropython.viper
def hide_pairs(scores: ptr32, mask: ptr8, at: int, rows: int, keys: int):
    # scores[r, j] = -2**30 where mask[at + r*keys + j] is not 0
    masked = -1
    masked <<= 30
    mask = ptr8(int(mask) + at)
    n = rows * keys
    i = 0
    while i < n:
        if mask[i]:
            scores[i] = masked
        i += 1


@micropython.viper
def drop(pair: ptr16, counts: ptr16, mask: ptr8, at: int, stride: int, rows: int, room: int):
    # Takes the listed pairs of row r out of their list where mask[at + r*stride + key] is not 0;
    # what is then free of the first `room` pairs is 0
    mask = ptr8(int(mask) + at)
    kept = ptr16(int(pair))
    while rows:
        n = counts[0]
        left = 0
        while n:
            key = pair[0]
            if mask[key] == 0:
                kept[0] = key
                kept = ptr16(int(kept) + 4)
                left += 1
            pair = ptr16(int(pair) + 4)
            n -= 1
        counts[0] = left
        counts = ptr16(int(counts) + 2)
        mask = ptr8(int(mask) + stride)
        room -= left
        rows -= 1
    while room > 0:
        kept[0] = 0
        kept[1] = 0
        kept = ptr16(int(kept) + 4)
        room -= 1
