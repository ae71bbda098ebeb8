# Products element by element.
import micropython


@micropython.viper
def multiply(a: ptr8, acc: int, b: ptr8, out: ptr8, n: int, mult: int, shift: int, most: int):
    # out = requant(a * b; mult, shift), int8 or, where most is 32767, int16
    s = shift - 16
    i = 0
    while i < n:
        acc = ((a[i] ^ 128) - 128) * ((b[i] ^ 128) - 128)
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
