# Causal attention of one token of int16 to those in a cache of int8, keys or values [slots, heads,
# head_dim] with a step each slot and head: scores, and a sum by the weights of softmax16.
import micropython


@micropython.viper
def scores(q: ptr16, acc: int, keys: ptr8, steps: ptr8, out: ptr32, count: int, heads: int,
            kv_heads: int, head_dim: int):
    # out[h, j] = steps[j, g]*sum_i q[h, i]*keys[j, g, i] of the first `count` slots; `heads` /
    # kv_heads heads of q follow each other on one head g of keys. q is overwritten.
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
def weighted(values: ptr8, acc: int, steps: ptr8, weights: ptr32, sums: ptr32, out: ptr16,
              count: int, heads: int, kv_heads: int, head_dim: int, num: int, shift: int):
    # out[h, i] = sum_j weights[h, j]*steps[j, g]*values[j, g, i] / sums[h] * num/2**shift, of the
    # first `count` slots; heads as those of scores. weights are overwritten.
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
