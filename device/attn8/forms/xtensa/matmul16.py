# int16 by int8 matrix product in machine code. It reads weights as they are.
from array import array

import micropython

_zeros = [array("i")]


def fits(inputs):
    return True


def room(inputs):
    # A row, filled up to a multiple of four, and a word more that is read
    return (2 * ((inputs + 3) & ~3) + 4,)


def zeros(outputs, tile):
    # A bias that nothing is written to: all share it. tile: of how many outputs at a time, 0: all
    outputs = tile or outputs
    if len(_zeros[0]) < outputs:
        _zeros[0] = array("i", bytes(4 * outputs))
    return _zeros[0]


def operands(weight, bias, mult, shift, inputs, outputs):
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr16, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr16, rows: int, inputs: int, outputs: int, down: int, most: int):
    pass
