# Exact softmax attention over one head in machine code. Keys and values are interleaved by fours.
import micropython


def room(keys, head_dim):
    # Keys, which need no sums; values, filled up to multiples of four columns, behind which two
    # rows of weights are interleaved; and three rows of queries in eight bytes a dimension, and
    # eight for each 56 of them
    return (keys * head_dim, 0, 4 * keys * ((head_dim + 3 >> 2) + 1),
            8 * (head_dim + (head_dim + 55) // 56))


@micropython.viper
def pack_keys(k: ptr8, packed: ptr8, sums: ptr32, keys: int, head_dim: int):
    pass


@micropython.viper
def pack_values(v: ptr8, packed: ptr8, keys: int, head_dim: int):
    pass


@micropython.viper
def scores(k: ptr8, acc: int, q: ptr8, sums: ptr32, out: ptr32, row: ptr8,
           first: int, rows: int, keys: int, head_dim: int, causal: int):
    pass


@micropython.viper
def mask_keys(scores: ptr32, mask: ptr8, rows: int, keys: int):
    pass


@micropython.viper
def softmax(scores: ptr32, x: int, out: ptr16, sums: ptr32, table: ptr16, first: int, rows: int,
            keys: int, causal: int, mult: int, shift: int, limit: int):
    pass


@micropython.viper
def weighted_sum(v: ptr8, acc: int, weights: ptr16, sums: ptr32, out: ptr8, first: int,
                 rows: int, keys: int, stride: int, head_dim: int, num: int, shift: int):
    pass
