# Powers of two.
#
# EXP2[f] = min(65535, floor(2**(16 - f/256) + 1/2)), f = 0..256: one octave of 2**-x in Q16.
# A chip's 24-bit floats could not compute it reliably, and a tuple of as many numbers would stay in
# memory: root by root in integers it is exact. A test compares it with the formula.
from array import array

EXP2 = array("H", range(257))
x = 1 << 30
for f in range(257):
    EXP2[f] = min(65535, ((x >> 13) + 1) >> 1)
    x = (x * 1070838486 + (1 << 29)) >> 30  # 2**(30 - 1/256)
del x, f
