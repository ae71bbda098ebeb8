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
def view(x, code: int, start: int, n: int):
    # Makes a memoryview of bytes one of n values of another typecode: they begin `start` of them
    # behind its object's first byte. Returns it. As that object is what it holds, and not a place
    # within, the collector keeps it.
    address = int(id(x))
    word = 1 << 16
    word <<= 16  # 0 on a chip
    if word:
        at = 2
    else:
        at = 1
        if address < 0:
            word = 1
            address ^= word << 31
    found = ptr32(address)
    found[at] = code | 128 | start << 8
    found[2 * at] = n
    return x


@micropython.viper
def part(view, x, start: int, n: int):
    # Makes a memoryview one of n bytes of x, which begin `start` behind its first one. Returns it.
    # x is what typecode knows; bytes have their content where the others do.
    target = int(id(view))
    source = int(id(x))
    word = 1 << 16
    word <<= 16  # 0 on a chip
    if word:
        at = 2
    else:
        at = 1
        word = 1
        if target < 0:
            target ^= word << 31
        if source < 0:
            source ^= word << 31
    to = ptr32(target)
    found = ptr32(source)
    if type(x) is memoryview:
        first = (found[at] >> 8) & 0xFFFFFF
        code = found[at] & 127
        if code == 104 or code == 72:  # h, H
            first <<= 1
        elif code == 105 or code == 102:  # i, f
            first <<= 2
        start += first
    to[at] = 98 | 128 | start << 8
    to[2 * at] = n
    to[3 * at] = found[3 * at]
    if at == 2:
        to[7] = found[7]
    return view


@micropython.viper
def later(n: int):
    # -> a bytearray of n bytes that have no memory yet, nor have the memoryviews that are made of
    # it (see place). Until then nothing may read or write them.
    x = bytearray()
    address = int(id(x))
    word = 1 << 16
    word <<= 16  # 0 on a chip
    if word:
        at = 2
    else:
        at = 1
        if address < 0:
            word = 1
            address ^= word << 31
    ptr32(address)[2 * at] = n
    return x


@micropython.viper
def place(x, block):
    # Gives x, which `later` made or a memoryview of that, the memory of another bytearray; what has
    # some keeps it
    target = int(id(x))
    source = int(id(block))
    word = 1 << 16
    word <<= 16  # 0 on a chip
    if word:
        at = 2
    else:
        at = 1
        word = 1
        if target < 0:
            target ^= word << 31
        if source < 0:
            source ^= word << 31
    to = ptr32(target)
    found = ptr32(source)
    if to[3 * at] == 0:
        if at == 2:
            if to[7]:
                return
            to[7] = found[7]
        to[3 * at] = found[3 * at]


@micropython.viper
def same(a: ptr8, b: ptr8) -> int:
    # Whether both begin at one address
    return int(int(a) == int(b))


@micropython.viper
def overlap(a: ptr8, size: int, b: ptr8, other_size: int) -> int:
    # Whether `size` bytes at a and `other_size` at b have any in common
    if int(a) < int(b) + other_size:
        if int(b) < int(a) + size:
            return 1
    return 0
