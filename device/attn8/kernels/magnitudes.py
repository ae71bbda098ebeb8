# What bounds the sums of products with a matrix.
import micropython


@micropython.viper
def magnitudes(w: ptr8, acc: int, n: int, rows: int, paired: int) -> int:
    # The largest sum of magnitudes of a row of w int8 [rows, n], or in pairs where `paired` is 1
    # (see forms/viper/matmul16.py)
    most = 0
    flip = 0 if paired else 128
    while rows:
        acc = 0
        i = n
        while i:
            b = (w[0] ^ flip) - 128
            if b < 0:
                b = 0 - b
            acc += b
            w = ptr8(int(w) + 1 + paired)
            i -= 1
        if paired:
            flip ^= 128
            w = ptr8(int(w) - 1 if flip == 0 else int(w) + 1 - (n << 1))
        if acc > most:
            most = acc
        rows -= 1
    return most
