# Attention of one token to a cache of int8 in machine code.
import micropython


def fits(head_dim):
    # Words of four values are read
    return head_dim % 4 == 0


@micropython.viper
def scores(q: ptr16, acc: int, keys: ptr8, steps: ptr8, out: ptr32, count: int, heads: int,
           kv_heads: int, head_dim: int):
    pass


@micropython.viper
def weighted(values: ptr8, acc: int, steps: ptr8, weights: ptr32, sums: ptr32, out: ptr16,
             count: int, heads: int, kv_heads: int, head_dim: int, num: int, shift: int):
    pass
