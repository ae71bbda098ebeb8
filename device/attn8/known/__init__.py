# Known answers that machine code has to give before it is used: right(form) of the module of a
# family says whether this form of it does. The sizes reach every loop: blocks and rests, aligned
# rows and others. What a module here was needed for, it is needed for once.
from array import array


def numbers(typecode, n, step):
    return array(typecode, [(i * step) % 255 - 127 for i in range(n)])
