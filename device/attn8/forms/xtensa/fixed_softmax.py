# Softmax of training's fixed point in machine code.
import micropython


@micropython.viper
def softmax(scores: ptr32, x: int, out: ptr32, offset: int, table: ptr16, rows: int, columns: int,
            mult: int, shift: int, up: int, limit: int) -> int:
    pass


@micropython.viper
def softmax_backward(weights: ptr32, acc: int, offset: int, d: ptr32, rows: int, columns: int,
                     up: int, mult: int, shift: int, limit: int, count: ptr32):
    pass
