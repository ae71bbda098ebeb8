from array import array
from binascii import crc32

from . import numbers

# By inputs, the checksum of five rows of nine outputs
ANSWERS = {36: 988465077, 39: 3087213765, 48: 1106257620}
ROWS = 5


def right(form):
    for inputs in ANSWERS:
        if answer(form, inputs) != ANSWERS[inputs]:
            return False
    return True


def answer(form, inputs):
    # All rows at once, and the last one alone in the place of the first
    x = numbers("b", ROWS * inputs, 37)
    bias = array("i", [500 * j - 2000 for j in range(8)] + [5000000])
    mult = array("h", [20000 + j for j in range(9)])
    shift = array("b", [23 + j % 4 for j in range(9)])
    operands = form.operands(numbers("b", 9 * inputs, 91), bias, mult, shift, inputs, 9)
    out = array("b", bytes(9 * ROWS))
    row = bytearray(*form.room(inputs, ROWS))
    for rows in (ROWS, 1):
        form.matmul(operands[0], 0, x, operands[1], operands[2], operands[3], out, row, rows,
                    inputs, 9, 0)
        x = x[-inputs:]
    return crc32(bytes(out))
