# Attention of one token to a cache of int16 in machine code.
import micropython


def fits(head_dim):
    # Eight values are taken at a time
    return head_dim % 8 == 0


def room(count):
    # Weights end behind whole fours
    return (4 * count + 4,)


@micropython.viper
def put(k: ptr16, v: ptr16, keys: ptr16, values: ptr16, slot: int, size: int):
    pass


@micropython.viper
def attend(q: ptr16, acc: int, keys: ptr16, values: ptr16, row: ptr32, table: ptr16, count: int,
           heads: int, kv_heads: int, head_dim: int, mult: int, shift: int, num: int,
           out_shift: int):
    pass
