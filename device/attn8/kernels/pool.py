# Means of int8 and int16 values, to either format.
import micropython


@micropython.viper
def mean_pool(x: ptr8, acc: int, out: ptr8, rows: int, columns: int, mult: int, shift: int,
              wide: int, most: int):
    # out[i] = requant(sum_r x[r, i]; mult, shift); x is int16 where `wide`, else int8, and out is
    # int16 where most is 32767
    s = shift - 16
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
