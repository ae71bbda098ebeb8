# Means over as many tokens as an input has.
import micropython


@micropython.viper
def mean(x: ptr8, acc: int, out: ptr8, rows: int, columns: int, mult: int, shift: int, wide: int,
         most: int):
    # out[i] = requant(sum_r x[r, i] << up; mult, shift), up the largest with rows << up < 2**15; x
    # is int16 where `wide`, else int8, and out is int16 where most is 32767
    s = shift - 16
    up = 0
    while rows << up < 16384:
        up += 1
    i = 0
    while i < columns:
        source = int(x) + (i << wide)
        acc = 0
        n = rows
        while n:
            if wide:
                acc += (ptr16(source)[0] ^ 32768) - 32768
            else:
                acc += (ptr8(source)[0] ^ 128) - 128
            source += columns << wide
            n -= 1
        acc <<= up
        acc = (acc >> 15) * mult + (((acc & 32767) * mult) >> 15)
        acc = (acc + (1 << s)) >> (s + 1)
        if acc > most:
            acc = most
        elif acc < 0 - most:
            acc = 0 - most
        if most >> 8:
            ptr16(out)[i] = acc
        else:
            out[i] = acc
        i += 1
