# Keys and values of past tokens, packed as attention.scores and attention.weighted_sum read them.
import micropython


@micropython.viper
def put(k: ptr8, v: ptr8, keys: ptr8, sums: ptr32, values: ptr8, slot: int, slots: int,
        head_dim: int):
    # One token into `slot`: a row of keys [slots, head_dim], a column of values [head_dim, slots],
    # and sums[slot] = 128*sum_i keys[slot, i]
    keys = ptr8(int(keys) + slot * head_dim)
    values = ptr8(int(values) + slot)
    total = 0
    i = 0
    while i < head_dim:
        b = k[i] ^ 128
        keys[i] = b
        total += b
        values[0] = v[i] ^ 128
        values = ptr8(int(values) + slots)
        i += 1
    sums[slot] = total << 7


@micropython.viper
def copy(source: ptr8, start: int, target: ptr8, at: int, n: int):
    # target[at : at + n] = source[start : start + n]
    source = ptr8(int(source) + start)
    target = ptr8(int(target) + at)
    while n:
        target[0] = source[0]
        source = ptr8(int(source) + 1)
        target = ptr8(int(target) + 1)
        n -= 1
