# Exact softmax attention over one head with vector instructions: keys and queries are rows as in
# matmul, values and weights int16 in rows that start at multiples of 16.
import micropython


def room(keys, head_dim):
    # Behind the values is a row of weights, and what the last load reads
    row = (head_dim + 15) & ~15
    return keys * row + 31, 0, 2 * (head_dim + 1) * ((keys + 7) & ~7) + 31, row + 31


def attends(out_shift):
    # As in xtensa
    return 18 <= out_shift <= 33


def attend_room(keys, head_dim):
    # A query and a row of weights at multiples of 16, two words that are not used, and a row of
    # scores, which is at least as long as what is read behind the weights
    return 4 * keys + 2 * ((keys + 7) & ~7) + ((head_dim + 15) & ~15) + 27


@micropython.viper
def attend(k: ptr8, acc: int, q: ptr8, v: ptr8, out: ptr8, room: ptr8, table: ptr16, mask: ptr8,
           at: int, masks: int, rows: int, keys: int, head_dim: int, value_dim: int, causal: int,
           mult: int, shift: int, limit: int, num: int, out_shift: int):
    pass


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
