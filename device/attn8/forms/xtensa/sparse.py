# Attention over listed pairs in machine code.
import micropython

from ... import tables

KEEPS = False


def fits(head_dim, score_mult, score_shift, out_shift):
    # 256 * q @ (k + 128) fits into 32 bits: 256 * 257 * 128 * 255 < 2**31. What is wanted of a
    # product is its high word, once mult is shifted left by 25 - shift, and stays in 32 bits; for
    # results by 33 - out_shift, where m of up to 2**15 stays below 2**31.
    return (head_dim <= 257 and score_shift <= 25 and score_mult >> (score_shift + 7) == 0
            and 18 <= out_shift <= 33)


def room(keys, head_dim):
    # Room for a query, then keys and values as int16, each row filled up to a multiple of four,
    # and a word more that is read. Of a row: scores and where values are, weights, column sums.
    row = 2 * ((head_dim + 3) & ~3)
    return (2 * keys + 1) * row + 4, 8 * keys + 4 * (keys // 2 + 1) + 2 * row


def most_percent(head_dim):
    return 100  # scores that are hidden between kernels keep a head from being one call


@micropython.viper
def list_spans(pairs: ptr16, key: int, spans: ptr16, counts: ptr16, offsets: ptr16, stride: int,
               first: int, rows: int):
    pass


@micropython.viper
def list_bits(pairs: ptr16, b: int, bits: ptr8, counts: ptr16, offsets: ptr16, stride: int,
              first: int, rows: int):
    pass


@micropython.viper
def _pack(k: ptr8, acc: int, v: ptr8, packed: ptr8, keys: int, head_dim: int):
    # Both into one buffer
    pass


@micropython.viper
def _attend_rows(packed: ptr8, acc: int, q: ptr8, pairs: ptr16, counts: ptr16, room: ptr32,
                 table: ptr16, out: ptr8, first: int, rows: int, keys: int, head_dim: int,
                 mult: int, shift: int, limit: int, num: int, out_shift: int):
    # What viper does in scores, softmax and weighted_sum
    pass


def attend(core, parts, q, k, v, out):
    n = core.seq_len
    d = core.head_dim
    packed, room = parts
    _pack(k, 0, v, packed, n, d)
    first = 0
    while first < n:
        rows = min(core.block_rows, n - first)
        pairs, counts = core.pairs.listed(first, rows)
        _attend_rows(packed, 0, q, pairs, counts, room, tables.EXP2, out, first, rows, n, d,
                     core.score_mult, core.score_shift, core.score_limit, core.out_num,
                     core.out_shift)
        first += rows
