from array import array
from binascii import crc32

from . import numbers

# By inputs, the checksum of five rows of nine outputs
ANSWERS = {36: 988465077, 39: 3087213765, 48: 1106257620, 70: 2464803514}
INT16 = 3754331230  # that of the first three rows of 36 inputs as int16
ROWS = 5


def right(form):
    for inputs in ANSWERS:
        if answer(form, inputs) != ANSWERS[inputs]:
            return False
    return not hasattr(form, "int16_rows") or answer(form, 36, 2) == INT16


def answer(form, inputs, wide=0):
    # All rows at once, and of int8 the last one alone in the place of the first
    x = numbers("b", ROWS * inputs, 37)
    bias = array("i", [500 * j - 2000 for j in range(8)] + [5000000])
    mult = array("h", [20000 + j for j in range(9)])
    shift = array("b", [(18 if wide else 23) + j % 4 for j in range(9)])
    operands = form.operands(numbers("b", 9 * inputs, 91), bias, mult, shift, inputs, 9)
    out = array("h" if wide else "b", bytes(18 * ROWS if wide else 9 * ROWS))
    row = bytearray(*form.room(inputs, ROWS))
    for rows in (form.int16_rows(ROWS, inputs, 9),) if wide else (ROWS, 1):
        form.matmul(operands[0], 0, x, operands[1], operands[2], operands[3], out, row, rows,
                    inputs, 9, wide)
        x = x[-inputs:]
    return crc32(bytes(out[:27] if wide else out))
