from array import array
from binascii import crc32

from . import numbers

ANSWER = 0xB48292C0  # CRC of the results of `right`


def right(form):
    # Rows of whole blocks, with a rest, at any address; pairs of rows; each format of results, of
    # two rows of x
    found = 0
    for inputs, m, down, paired in (36, 9, 0, 0), (39, 9, 1, 0), (48, 9, 0, 0), (56, 10, 0, 1), (
            44, 10, 1, 1):
        x = array("h", [257 * value for value in numbers("b", 2 * inputs, 37)])
        mult = array("h", [20000 + j for j in range(m)])
        shift = array("b", [30 + j % 3 for j in range(m)])
        weight, bias, mult, shift = form.operands(
            numbers("b", m * inputs, 91), array("i", [50000 * j - 200000 for j in range(m)]), mult,
            shift, inputs, m, paired)
        row = bytearray(*form.room(inputs))
        for most, code, size in (32767, "h", 2), (127, "b", 1), (0, "i", 4):
            out = array(code, bytes(2 * m * size))
            form.matmul(weight, 0, x, bias, mult, shift, out, row, 2, inputs, m, down, most, paired)
            found = crc32(bytes(out), found)
    return found == ANSWER
