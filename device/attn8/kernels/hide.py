# What a mask hides from the dense core.
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
