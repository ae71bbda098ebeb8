# Causal attention of one token of int16 to those in a cache: rotary positions, what a cache keeps,
# scores, softmax, weighted sum. A cache [slots, heads, head_dim] holds int8 with a step each slot
# and head, or int16.
import micropython


@micropython.viper
def rotate(x: ptr16, acc: int, turns: ptr32, sines: ptr16, position: int, heads: int,
           head_dim: int, most: int):
    # Turns each pair of adjacent values of x [heads, head_dim] by position * turns[pair] * 2**-32
    # turns, within +-most. sines: 16384 * the sine of 0 to 128 512ths of a turn.
    quarter = 1
    quarter <<= 30
    pair = 0
    while pair < head_dim:
        phase = turns[pair >> 1] * position
        sine = 0
        cosine = 0
        k = 0
        while k < 2:
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
            if k == 0:
                sine = cosine
            phase += quarter
            k += 1
        p = ptr16(int(x) + (pair << 1))
        n = heads
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
        pair += 2


@micropython.viper
def put8(x: ptr16, acc: int, cache: ptr8, steps: ptr8, slot: int, heads: int, head_dim: int):
    # x int16 [heads, head_dim], within +-127*255, into a slot: x / step, rounded, and the step
    cache = ptr8(int(cache) + slot * heads * head_dim)
    steps = ptr8(int(steps) + slot * heads)
    while heads:
        most = 0
        i = 0
        while i < head_dim:
            acc = (x[i] ^ 32768) - 32768
            if acc < 0:
                acc = 0 - acc
            if acc > most:
                most = acc
            i += 1
        step = (most + 126) // 127
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
        cache = ptr8(int(cache) + head_dim)
        steps = ptr8(int(steps) + 1)
        heads -= 1


@micropython.viper
def scores8(q: ptr16, acc: int, keys: ptr8, steps: ptr8, out: ptr32, count: int, heads: int,
            kv_heads: int, head_dim: int):
    # out[h, j] = steps[j, g]*sum_i q[h, i]*keys[j, g, i] of the first `count` slots; `heads` /
    # kv_heads heads of q follow each other on one head g of keys
    share = heads // kv_heads
    size = kv_heads * head_dim
    g = 0
    while g < kv_heads:
        r = 0
        while r < share:
            k = ptr8(int(keys) + g * head_dim)
            s = ptr8(int(steps) + g)
            j = 0
            while j < count:
                acc = 0
                i = 0
                while i < head_dim:
                    acc = ((q[i] ^ 32768) - 32768) * ((k[i] ^ 128) - 128) + acc
                    i += 1
                out[j] = acc * s[0]
                k = ptr8(int(k) + size)
                s = ptr8(int(s) + kv_heads)
                j += 1
            q = ptr16(int(q) + (head_dim << 1))
            out = ptr32(int(out) + (count << 2))
            r += 1
        g += 1


@micropython.viper
def scores16(q: ptr16, acc: int, keys: ptr16, out: ptr32, count: int, heads: int, kv_heads: int,
             head_dim: int):
    # The same of int16 keys
    share = heads // kv_heads
    size = kv_heads * head_dim << 1
    g = 0
    while g < kv_heads:
        r = 0
        while r < share:
            k = ptr16(int(keys) + (g * head_dim << 1))
            j = 0
            while j < count:
                acc = 0
                i = 0
                while i < head_dim:
                    acc = ((q[i] ^ 32768) - 32768) * ((k[i] ^ 32768) - 32768) + acc
                    i += 1
                out[j] = acc
                k = ptr16(int(k) + size)
                j += 1
            q = ptr16(int(q) + (head_dim << 1))
            out = ptr32(int(out) + (count << 2))
            r += 1
        g += 1


@micropython.viper
def softmax(scores: ptr32, x: int, sums: ptr32, table: ptr16, heads: int, count: int, mult: int,
            shift: int):
    # In place: weights of about 32256 in all (see kernels.exact16.softmax), sums[h] their sum
    sign = 1
    sign <<= 31
    s = shift - 16
    while heads:
        largest = sign
        j = 0
        while j < count:
            x = (scores[j] ^ sign) - sign
            if j == 0 or x > largest:
                largest = x
            j += 1
        total = 0
        j = 0
        while j < count:
            x = largest - ((scores[j] ^ sign) - sign)
            x = (x >> 15) * mult + (((x & 32767) * mult) >> 15)
            x = (x + (1 << s)) >> (s + 1)
            if x >> 18:
                x = 0
            else:
                i = (x >> 6) & 255
                y = table[i]
                below = 32768
                if i < 255:
                    below = table[i + 1]
                x = (((y - (((y - below) * (x & 63)) >> 6)) >> (x >> 14)) + 1) >> 1
            scores[j] = x
            total += x
            j += 1
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        m = ((63 << 24) + (m >> 1)) // m
        total = 0
        p += 15
        half = (1 << p) >> 1
        j = 0
        while j < count:
            x = (scores[j] * m + half) >> p
            scores[j] = x
            total += x
            j += 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        scores = ptr32(int(scores) + (count << 2))
        heads -= 1


@micropython.viper
def weighted8(values: ptr8, acc: int, steps: ptr8, weights: ptr32, sums: ptr32, out: ptr16,
              count: int, heads: int, kv_heads: int, head_dim: int, num: int, shift: int):
    # out[h, i] = sum_j weights[h, j]*steps[j, g]*values[j, g, i] / sums[h] * num/2**shift, of the
    # first `count` slots; heads as those of scores8. weights are overwritten.
    share = heads // kv_heads
    size = kv_heads * head_dim
    s = shift - 16
    g = 0
    while g < kv_heads:
        r = 0
        while r < share:
            t = ptr8(int(steps) + g)
            j = 0
            while j < count:
                weights[j] = weights[j] * t[0]
                t = ptr8(int(t) + kv_heads)
                j += 1
            m = sums[0]
            m = (num + (m >> 1)) // m
            i = 0
            while i < head_dim:
                v = ptr8(int(values) + g * head_dim + i)
                acc = 0
                j = 0
                while j < count:
                    acc = weights[j] * ((v[0] ^ 128) - 128) + acc
                    v = ptr8(int(v) + size)
                    j += 1
                acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
                acc = (acc + (1 << s)) >> (s + 1)
                if acc > 32767:
                    acc = 32767
                elif acc < -32767:
                    acc = -32767
                out[i] = acc
                i += 1
            weights = ptr32(int(weights) + (count << 2))
            sums = ptr32(int(sums) + 4)
            out = ptr16(int(out) + (head_dim << 1))
            r += 1
        g += 1


@micropython.viper
def weighted16(values: ptr16, acc: int, weights: ptr32, sums: ptr32, out: ptr16, count: int,
               heads: int, kv_heads: int, head_dim: int, num: int, shift: int):
    # The same of int16 values
    share = heads // kv_heads
    size = kv_heads * head_dim << 1
    s = shift - 16
    g = 0
    while g < kv_heads:
        r = 0
        while r < share:
            m = sums[0]
            m = (num + (m >> 1)) // m
            i = 0
            while i < head_dim:
                v = ptr16(int(values) + (g * head_dim + i << 1))
                acc = 0
                j = 0
                while j < count:
                    acc = weights[j] * ((v[0] ^ 32768) - 32768) + acc
                    v = ptr16(int(v) + size)
                    j += 1
                acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
                acc = (acc + (1 << s)) >> (s + 1)
                if acc > 32767:
                    acc = 32767
                elif acc < -32767:
                    acc = -32767
                out[i] = acc
                i += 1
            weights = ptr32(int(weights) + (count << 2))
            sums = ptr32(int(sums) + 4)
            out = ptr16(int(out) + (head_dim << 1))
            r += 1
        g += 1
