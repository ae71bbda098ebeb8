from array import array
from binascii import crc32

from . import numbers

ANSWER = 0xBCD18434  # CRC of the results of `right`


def right(form):
    # Two heads of queries and one of keys of six dimensions at position 100 are turned; all are put
    # into the second of two slots
    x = array("h", [250 * value for value in numbers("b", 18, 37)])
    sines = array("h", [128 * j for j in range(129)])  # a line will do
    k = x[12:]
    form.rotate(x, 0, k, array("i", [-1234567890, 123456789, 12345]), sines, 100, 2, 1, 6, 20000)
    x[12:] = k
    found = bytes(x)
    centre = array("h", [250 * value for value in numbers("b", 18, 91)])
    cache, steps = bytearray(36), bytearray(6)
    form.put(x, 0, centre, cache, steps, 1, 3, 6, 15000)
    return crc32(found + cache + steps) == ANSWER
