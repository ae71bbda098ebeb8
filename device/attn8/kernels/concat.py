# Two tensors as one.
import micropython


@micropython.viper
def concat(a: ptr8, b: ptr8, out: ptr8, rows: int, first: int, second: int):
    # Each row of out is `first` bytes of a and `second` of b
    while rows:
        i = 0
        while i < first:
            out[i] = a[i]
            i += 1
        out = ptr8(int(out) + first)
        i = 0
        while i < second:
            out[i] = b[i]
            i += 1
        out = ptr8(int(out) + second)
        a = ptr8(int(a) + first)
        b = ptr8(int(b) + second)
        rows -= 1
