# What masks of pairs hide from attention that trains in fixed point.
import micropython


@micropython.viper
def mask(x: ptr32, at: int, rows: int, columns: int, bits: ptr8, first: int, length: int,
         value: int):
    # x[at + r*columns + j] = value where j >= length, and where bit j of row first + r of a mask's
    # bits is 0
    x = ptr32(int(x) + (at << 2))
    stride = (columns + 7) >> 3
    bits = ptr8(int(bits) + first * stride)
    while rows:
        j = 0
        while j < columns:
            shown = 0
            if j < length:
                shown = (bits[j >> 3] >> (j & 7)) & 1
            if shown == 0:
                x[j] = value
            j += 1
        x = ptr32(int(x) + (columns << 2))
        bits = ptr8(int(bits) + stride)
        rows -= 1
