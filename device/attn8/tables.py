# Powers of two.
#
# EXP2[f] = min(65535, floor(2**(16 - f/256) + 1/2)), f = 0..255: one octave of 2**-x in Q16.
# A chip's 24-bit floats could not compute it reliably, and a tuple of 256 numbers would stay in
# memory: root by root in integers it is exact. A test compares it with the formula.
import gc
from array import array

EXP2 = array("H", range(256))
x = 1 << 30
for f in range(256):
    EXP2[f] = min(65535, ((x >> 13) + 1) >> 1)
    x = (x * 1070838486 + (1 << 29)) >> 30  # 2**(30 - 1/256)
del x, f

_octaves = None


def octaves():
    # Softmax numerators in Q15 over 16 octaves: [t] = ((EXP2[t & 255] >> (t >> 8)) + 1) >> 1. The
    # 8 KB are made once, for all who look them up; None where the heap has not 32 KB to spare.
    global _octaves
    if _octaves is None and gc.mem_free() >= 32768:
        _octaves = array("H", range(4096))  # made from bytes it would take its room twice
        for t in range(4096):
            _octaves[t] = ((EXP2[t & 255] >> (t >> 8)) + 1) >> 1
    return _octaves
