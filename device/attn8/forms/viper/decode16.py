# Causal attention of one token of int16 to those in a cache of int16: keys [slots, heads,
# head_dim], values [slots / 4, heads, head_dim, 4], four slots of a dimension together.
import micropython


def room(count):
    # Scores, then weights, of a head
    return (4 * count,)


@micropython.viper
def put(k: ptr16, v: ptr16, keys: ptr16, values: ptr16, slot: int, size: int):
    # The rows k and v of a token, of `size` values each, into `slot`
    keys = ptr16(int(keys) + (slot * size << 1))
    values = ptr16(int(values) + ((slot >> 2) * size << 3) + ((slot & 3) << 1))
    i = 0
    while i < size:
        keys[i] = k[i]
        values[0] = v[i]
        values = ptr16(int(values) + 8)
        i += 1


@micropython.viper
def attend(q: ptr16, acc: int, keys: ptr16, values: ptr16, row: ptr32, table: ptr16, count: int,
           heads: int, kv_heads: int, head_dim: int, mult: int, shift: int, num: int,
           out_shift: int):
    # Of the first `count` slots; `heads` / kv_heads heads of q follow each other on one head g of
    # keys and values. The heads' results take the place of q.
    #   scores[h, j] = sum_i q[h, i]*keys[j, g, i]
    #   weights[h, j] of about 32256 in all, as those of exact16.softmax, with mult and shift
    #   q[h, i] = sum_j weights[h, j]*values[j, g, i] / sum_j weights[h, j] * num/2**out_shift
    # table: EXP2, with 32768 behind it. acc: 0. `row` is of `room`.
    sign = 1
    sign <<= 31
    share = heads // kv_heads
    size = kv_heads * head_dim << 1
    while heads:
        # Scores, and the largest of them
        largest = 0 - sign
        k = ptr16(int(keys))
        j = 0
        while j < count:
            acc = 0
            i = head_dim
            while i:
                i -= 1
                acc = ((q[i] ^ 32768) - 32768) * ((k[i] ^ 32768) - 32768) + acc
            row[j] = acc
            if acc > largest:
                largest = acc
            k = ptr16(int(k) + size)
            j += 1
        # Numerators, and their sum
        half = shift - 16
        total = 0
        j = 0
        while j < count:
            acc = largest - ((row[j] ^ sign) - sign)
            acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
            acc = (acc + (1 << half)) >> (half + 1)
            if acc >> 18:
                acc = 0
            else:
                i = (acc >> 6) & 255
                y = table[i]
                below = table[i + 1]
                acc = (((y - (((y - below) * (acc & 63)) >> 6)) >> (acc >> 14)) + 1) >> 1
            row[j] = acc
            total += acc
            j += 1
        # Weights, and their sum
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
            acc = (row[j] * m + half) >> p
            row[j] = acc
            total += acc
            j += 1
        m = (num + (total >> 1)) // total
        half = out_shift - 16
        i = 0
        while i < head_dim:
            k = ptr16(int(values) + (i << 3))
            acc = 0
            j = 0
            while j < count:
                acc = row[j] * ((k[0] ^ 32768) - 32768) + acc
                j += 1
                if j & 3:
                    k = ptr16(int(k) + 2)
                else:
                    k = ptr16(int(k) + (size << 2) - 6)
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << half)) >> (half + 1)
            if acc > 32767:
                acc = 32767
            elif acc < -32767:
                acc = -32767
            q[i] = acc
            i += 1
        q = ptr16(int(q) + (head_dim << 1))
        heads -= 1
        if heads % share == 0:
            keys = ptr16(int(keys) + (head_dim << 1))
            values = ptr16(int(values) + (head_dim << 3))
