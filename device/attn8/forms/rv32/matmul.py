# int8 matrix product in machine code. It reads weights as they are.
import micropython


def room(inputs, rows):
    # Three rows of x in eight bytes a value, where rows are packed (see the host's matmul_rv32)
    return (8 * inputs if rows > 2 and inputs <= 512 else 0,)


def int16_rows(rows, inputs, outputs):
    # The first so many of x may become int16 results in one call (`wide` is 2), and may lie where
    # results of later rows do: three are read before any of theirs is written
    return rows - rows % 3 if inputs <= 512 and outputs > 3 else 0


def operands(weight, bias, mult, shift, inputs, outputs):
    return weight, bias, mult or bias, shift or bias


def pack(w: ptr8, bias: ptr32, inputs: int, outputs: int):
    pass


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
