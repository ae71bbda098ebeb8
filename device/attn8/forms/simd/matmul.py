# int8 matrix product with vector instructions. Rows start at multiples of 16, wherever the room
# starts, and are filled up to multiples of 16; the load of a next row may read 16 bytes further.
import micropython

from .. import interleaved


def room(inputs, rows):
    return (((inputs + 15) & ~15) + 31,)


def operands(weight, bias, mult, shift, inputs, outputs):
    constants = interleaved(bias, mult, shift)
    packed = bytearray(outputs * ((inputs + 15) & ~15) + 31)
    packed[: inputs * outputs] = weight
    _pack(packed, inputs, outputs)
    return packed, constants, constants, constants


@micropython.viper
def _pack(w: ptr8, inputs: int, outputs: int):
    pass


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
