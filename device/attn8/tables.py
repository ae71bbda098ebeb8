# Powers of two.
#
# EXP2[f] = min(65535, floor(2**(16 - f/256) + 1/2)), f = 0..256: one octave of 2**-x in Q16.
# A chip's 24-bit floats could not compute it reliably, and a tuple of as many numbers would stay in
# memory: root by root in integers it is exact. A test compares it with the formula.
from array import array

EXP2 = array("H", range(257))
x = (1 << 30) - 1
for f in range(257):
    EXP2[f] = min(65535, ((x >> 13) + 1) >> 1)
    # x -= x * D >> 30, D = 1417 * 2**11 + 1322 = (1 - 2**(-1/256)) * 2**30, in halves of fifteen
    # and eleven bits: larger numbers would leave 38 kB behind for the collector
    h = x >> 15
    x -= (h * 1417 + (h * 1322 >> 11) + ((x & 32767) * 1417 >> 15) + 8) >> 4
del x, f, h
