# Fixed point for training: words of `frac` fractional bits that saturate at +-limit, limit < 2**30.
# attn8/train/formats.py says how products are rounded. Every saturation adds 1 to count[0].
import micropython


@micropython.viper
def log(total: int, frac: int) -> int:
    # ln(total / 2**15) with `frac` fractional bits, to 2**-13, for total >= 2**15: log2 bit by bit,
    # by squaring
    octaves = 0
    while (total >> octaves) >= 65536:
        octaves += 1
    x = total >> octaves
    n = 16
    while n:
        x = (x * (x >> 1)) >> 14
        octaves <<= 1
        if x >= 65536:
            x >>= 1
            octaves += 1
        n -= 1
    x = (octaves >> 15) * 22713 + (((octaves & 32767) * 22713 + 16384) >> 15)
    n = 16 - frac
    return (x + ((1 << n) >> 1)) >> n


@micropython.viper
def hide(scores: ptr32, rows: int, columns: int, length: int, first: int, value: int):
    # scores[r, j] = value where j >= length or j > first + r
    while rows:
        first += 1
        j = length
        if first < j:
            j = first
        while j < columns:
            scores[j] = value
            j += 1
        scores = ptr32(int(scores) + (columns << 2))
        rows -= 1


@micropython.viper
def copy(x: ptr32, out: ptr32, start: int, to: int, rows: int, columns: int, step: int,
         stride: int):
    # out[to + r*stride + j] = x[start + r*step + j]
    while rows:
        j = 0
        while j < columns:
            out[to + j] = x[start + j]
            j += 1
        start += step
        to += stride
        rows -= 1
