# int8 matrix product in machine code. Weights are interleaved four rows at a time.
import micropython

from .. import scratch


def room(inputs, rows):
    # Three rows of x in eight bytes a value, and eight for each 64 of them, where rows are packed
    # (see the host's matmul_s2); or one in words, which is also what four rows of weights take
    if rows > 2 and inputs <= 512:
        return (8 * (inputs + (inputs + 63 >> 6)),)
    return (4 * inputs,)


def int16_rows(rows, inputs, outputs):
    # The first so many of x may become int16 results in one call (`wide` is 2), and may lie where
    # results of later rows do: three are read before any of theirs is written
    return rows - rows % 3 if inputs <= 512 else 0


def operands(weight, bias, mult, shift, inputs, outputs):
    scratch.claim(4 * inputs)
    _interleave(weight, scratch.bytes, inputs, outputs)
    return weight, bias, mult or bias, shift or bias


@micropython.viper
def _interleave(w: ptr8, room: ptr8, inputs: int, outputs: int):
    pass


@micropython.viper
def matmul(w: ptr8, acc: int, x: ptr8, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8,
           row: ptr8, rows: int, inputs: int, outputs: int, wide: int):
    pass
