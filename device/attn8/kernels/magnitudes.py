# What bounds the sums of products with a matrix.
import micropython


@micropython.viper
def magnitudes(w: ptr8, acc: int, n: int, rows: int) -> int:
    # The largest sum of magnitudes of a row of w int8 [rows, n]
    most = 0
    while rows:
        acc = 0
        i = n
        while i:
            b = (w[0] ^ 128) - 128
            if b < 0:
                b = 0 - b
            acc += b
            w = ptr8(int(w) + 1)
            i -= 1
        if acc > most:
            most = acc
        rows -= 1
    return most
