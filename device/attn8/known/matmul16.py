from array import array
from binascii import crc32

from . import numbers

ANSWER = 0x0E4012BD  # CRC of the results of `right`


def right(form):
    # Rows of whole blocks, with a rest, at any address; two of them, each format of results
    found = 0
    for inputs, down in (36, 0), (39, 1), (48, 0):
        x = array("h", [257 * value for value in numbers("b", 2 * inputs, 37)])
        mult = array("h", [20000 + j for j in range(9)])
        shift = array("b", [30 + j % 3 for j in range(9)])
        weight, bias, mult, shift = form.operands(
            numbers("b", 9 * inputs, 91), array("i", [50000 * j - 200000 for j in range(9)]), mult,
            shift, inputs, 9)
        row = bytearray(*form.room(inputs))
        for most, code, size in (32767, "h", 2), (127, "b", 1), (0, "i", 4):
            out = array(code, bytes(18 * size))
            form.matmul(weight, 0, x, bias, mult, shift, out, row, 2, inputs, 9, down, most)
            found = crc32(bytes(out), found)
    return found == ANSWER
