# Attention of one token to a cache of int8 in machine code.
import micropython


def fits(head_dim):
    # Eight values are taken at a time
    return head_dim % 8 == 0


def room(count):
    # Those of two heads
    return (8 * count,)


@micropython.viper
def attend(q: ptr16, acc: int, keys: ptr8, key_steps: ptr8, values: ptr8, value_steps: ptr8,
           row: ptr32, table: ptr16, count: int, heads: int, kv_heads: int, head_dim: int,
           mult: int, shift: int, num: int, out_shift: int):
    pass
