# Causal attention of one token of int16 to those in a cache of int16: as decode8, without steps.
import micropython


@micropython.viper
def scores(q: ptr16, acc: int, keys: ptr16, out: ptr32, count: int, heads: int, kv_heads: int,
             head_dim: int):
    # out[h, j] = sum_i q[h, i]*keys[j, g, i]; see decode8
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
def weighted(values: ptr16, acc: int, weights: ptr32, sums: ptr32, out: ptr16, count: int,
               heads: int, kv_heads: int, head_dim: int, num: int, shift: int):
    # out[h, i] = sum_j weights[h, j]*values[j, g, i] / sums[h] * num/2**shift; see decode8
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
