# Functions of one int8 value.
import micropython


@micropython.viper
def lookup(x: ptr8, table: ptr8, out: ptr8, n: int):
    # out = table[x], x as a byte; out may be x
    while n:
        out[0] = table[x[0]]
        x = ptr8(int(x) + 1)
        out = ptr8(int(out) + 1)
        n -= 1
