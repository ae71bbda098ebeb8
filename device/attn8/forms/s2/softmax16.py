# Softmax of int16 attention in machine code.
import micropython


def fits():
    return True


@micropython.viper
def softmax(scores: ptr32, x: int, sums: ptr32, table: ptr16, heads: int, count: int, mult: int,
            shift: int):
    pass
