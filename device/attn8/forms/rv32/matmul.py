# int8 matrix product in machine code. It reads weights as they are.
import micropython

from .. import interleaved


def fits(inputs):
    return True


def room(inputs, rows):
    return (0,)


def operands(weight, bias, mult, shift, inputs, outputs):
    constants = interleaved(bias, mult, shift)
    return weight, constants, constants, constants


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
