# int8 matrix product in machine code.
import micropython


def room(inputs, rows):
    # Rows of x as int16, filled up to multiples of four, and one of weights with two words more;
    # or a row of x alone, where rows are few or long (see the host's matmul_xtensa). A word more
    # is read.
    groups = (inputs + 3) >> 2
    if rows < 4 or inputs > 288:
        return (8 * groups + 4,)
    return (8 * groups * (1 + min(18, 288 // groups, rows)) + 12,)


def int16_rows(rows, inputs, outputs):
    # The first so many of x may become int16 results in one call (`wide` is 2), and may lie where
    # results of later rows do: a tile is read before any of its results is written
    return rows if rows >= 4 and inputs <= 288 else 0


def operands(weight, bias, mult, shift, inputs, outputs):
    pack(weight, bias, inputs, outputs)
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def pack(w: ptr8, bias: ptr32, inputs: int, outputs: int):
    pass


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
