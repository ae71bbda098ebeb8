# What attention with rotary positions needs where it trains in fixed point.
import micropython


@micropython.viper
def rotate(x: ptr32, acc: int, turns: ptr32, sines: ptr16, rows: int, heads: int, head_dim: int,
           back: int, limit: int, count: ptr32):
    # As forms/viper/rotary.py, of words x [rows, heads, head_dim], of which row i has position i:
    # a product's high part counts 2**14, so that each sum is rounded once. back: the other way.
    sign = 1
    sign <<= 31
    quarter = 1
    quarter <<= 30
    position = 0
    while position < rows:
        pair = 0
        while pair < head_dim:
            phase = turns[pair >> 1] * position
            sine = 0
            cosine = 0
            ends = 0
            while ends < 2:
                i = (phase >> 23) & 511
                n = i & 255
                if n > 128:
                    n = 256 - n
                cosine = sines[n]
                if i & 256:
                    cosine = 0 - cosine
                i = (i + 1) & 511
                n = i & 255
                if n > 128:
                    n = 256 - n
                n = sines[n]
                if i & 256:
                    n = 0 - n
                cosine = cosine + (((n - cosine) * ((phase >> 11) & 4095) + 2048) >> 12)
                if ends == 0:
                    sine = cosine
                phase += quarter
                ends += 1
            if back:
                sine = 0 - sine
            p = ptr32(int(x) + (pair << 2))
            n = heads
            while n:
                a = (p[0] ^ sign) - sign
                b = (p[1] ^ sign) - sign
                i = b >> 14
                b &= 16383
                acc = a >> 14
                a &= 16383
                phase = acc * sine + i * cosine + ((a * sine + b * cosine + 8192) >> 14)
                acc = acc * cosine - i * sine + ((a * cosine - b * sine + 8192) >> 14)
                if acc > limit:
                    acc = limit
                    count[0] = count[0] + 1
                elif acc < 0 - limit:
                    acc = 0 - limit
                    count[0] = count[0] + 1
                p[0] = acc
                if phase > limit:
                    phase = limit
                    count[0] = count[0] + 1
                elif phase < 0 - limit:
                    phase = 0 - limit
                    count[0] = count[0] + 1
                p[1] = phase
                p = ptr32(int(p) + (head_dim << 2))
                n -= 1
            pair += 2
        x = ptr32(int(x) + ((heads * head_dim) << 2))
        position += 1


@micropython.viper
def bounds(x: ptr32, acc: int, low: ptr32, high: ptr32, rows: int, columns: int):
    # Each column's lowest and highest value: those of before, and of x
    sign = 1
    sign <<= 31
    while rows:
        j = 0
        while j < columns:
            acc = (x[j] ^ sign) - sign
            if acc < (low[j] ^ sign) - sign:
                low[j] = acc
            if acc > (high[j] ^ sign) - sign:
                high[j] = acc
            j += 1
        x = ptr32(int(x) + (columns << 2))
        rows -= 1
