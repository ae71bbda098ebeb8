# Rotary positions, and what a cache of int8 keeps of int16.
import micropython


@micropython.viper
def rotate(q: ptr16, acc: int, k: ptr16, turns: ptr32, sines: ptr16, position: int, heads: int,
           kv_heads: int, head_dim: int, most: int):
    # Turns each pair of adjacent values of q [heads, head_dim] and k [kv_heads, head_dim] by
    # position * turns[pair] * 2**-32 turns, within +-most. sines: 16384 * the sine of 0 to 128
    # 512ths of a turn.
    quarter = 1
    quarter <<= 30
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
        p = ptr16(int(q) + (pair << 1))
        n = heads
        left = kv_heads
        while n:
            a = (p[0] ^ 32768) - 32768
            b = (p[1] ^ 32768) - 32768
            acc = (a * cosine - b * sine + 8192) >> 14
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            p[0] = acc
            acc = (a * sine + b * cosine + 8192) >> 14
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            p[1] = acc
            p = ptr16(int(p) + (head_dim << 1))
            n -= 1
            if n == 0:
                p = ptr16(int(k) + (pair << 1))
                n = left
                left = 0
        pair += 2


@micropython.viper
def put(x: ptr16, acc: int, centre: ptr16, cache: ptr8, steps: ptr8, slot: int, heads: int,
        head_dim: int, most: int):
    # x - centre, int16 [heads, head_dim], within +-most, into a slot: divided by a step for each
    # head, rounded, and the step; most is 127*255 at most. x is overwritten.
    cache = ptr8(int(cache) + slot * heads * head_dim)
    steps = ptr8(int(steps) + slot * heads)
    while heads:
        largest = 0
        i = 0
        while i < head_dim:
            acc = (x[i] ^ 32768) - (centre[i] ^ 32768)
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            x[i] = acc
            if acc < 0:
                acc = 0 - acc
            if acc > largest:
                largest = acc
            i += 1
        step = (largest + 126) // 127
        if step == 0:
            step = 1
        steps[0] = step
        half = 127 * step + (step >> 1)
        i = 0
        while i < head_dim:
            acc = (x[i] ^ 32768) - 32768
            cache[i] = (acc + half) // step - 127
            i += 1
        x = ptr16(int(x) + (head_dim << 1))
        centre = ptr16(int(centre) + (head_dim << 1))
        cache = ptr8(int(cache) + head_dim)
        steps = ptr8(int(steps) + 1)
        heads -= 1
