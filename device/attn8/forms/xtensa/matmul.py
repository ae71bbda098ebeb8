# int8 matrix product in machine code.
import micropython

from .. import interleaved


def fits(inputs):
    # 256 * a sum of products, 2**14 each at most, fits into 32 bits
    return inputs <= 511


def room(inputs):
    # A row as int16, filled up to a multiple of four, and a word more that is read
    return (2 * ((inputs + 3) & ~3) + 4,)


def operands(weight, bias, mult, shift, inputs, outputs):
    constants = interleaved(bias, mult, shift)
    _pack(weight, constants, inputs, outputs)
    return weight, constants, constants, constants


@micropython.viper
def _pack(w: ptr8, constants: ptr32, inputs: int, outputs: int):
    pass


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
