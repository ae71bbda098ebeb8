# What a buffer is, read from MicroPython's own objects: Python has no cheap way to ask. Laid out as
# in py/objarray.h, the same in MicroPython 1.23 to 1.29: a word for the type, then the typecode in
# the lowest byte of a word.
from array import array as Array

import micropython


@micropython.viper
def typecode(x) -> int:
    # The character of an array's typecode, "B" for bytes and bytearrays, and that of what a
    # memoryview shows; 128 more where it may be written to. 0 for whatever else x is.
    kind = type(x)
    if kind is bytes:
        return 66
    if kind is Array or kind is bytearray or kind is memoryview:
        address = int(id(x))
        word = 1 << 16
        word <<= 16  # 0 on a chip
        if word:
            at = 8
        else:
            at = 4
            if address < 0:  # from 2**30 on: as a small integer it took on a sign
                word = 1
                address ^= word << 31
        code = ptr8(address)[at]
        if code & 127 == 1:  # a bytearray's
            code += 65
        if kind is memoryview:
            return code
        return code | 128
    return 0


@micropython.viper
def overlap(a: ptr8, size: int, b: ptr8, other_size: int) -> int:
    # Whether `size` bytes at a and `other_size` at b have any in common
    if int(a) < int(b) + other_size:
        if int(b) < int(a) + size:
            return 1
    return 0
