# Exact softmax attention over one head in machine code, with operands as they are.
import micropython


def room(keys, head_dim):
    # Keys, which need no sums, values, behind which three bytes more are read, and three rows of
    # queries in eight bytes a dimension
    size = keys * head_dim
    return size, 0, size + 3, 8 * head_dim


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
