# Exact softmax attention over one head in machine code, with operands as int16.
import micropython


def room(keys, head_dim):
    # Rows of keys and queries are filled up to multiples of four, those of values too, and a word
    # more is read; behind the values is a row of weights. A query and this row have two words
    # more. Keys need no sums.
    n = (keys + 3) & ~3
    row = 2 * ((head_dim + 3) & ~3)
    return keys * row + 4, 0, 2 * (head_dim + 1) * n + 8, row + 8


def attends(out_shift):
    # What is wanted of a product is its high word, once the reciprocal of up to 2**15 is shifted
    # left by 33 - out_shift
    return 18 <= out_shift <= 33


def attend_room(keys, head_dim):
    # A row of scores, one of weights and a query, these with two words more
    return 4 * keys + 2 * ((keys + 3) & ~3) + 2 * ((head_dim + 3) & ~3) + 16


# masks: 0, or 1 where keys hide whose byte from mask + at on is not 0, or 2 where each row has such
# bytes of its own
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
