# Products of training's fixed point in machine code. Mantissas are int16: a row has its exponent,
# and as many of them as fill words, or two rows lie by turns.
import micropython


def room(rows, cols, inner):
    return 4 * ((rows + 1 >> 1) + (cols + 1 >> 1)) * ((inner + 1 & ~1) + 2)


@micropython.viper
def matmul(a: ptr32, acc: int, b: ptr32, out: ptr32, a_offset: int, b_offset: int, offset: int,
           again: int, shape: ptr32, room: ptr32, count: ptr32):
    pass
