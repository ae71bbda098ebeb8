# What a convolution needs besides the matrix product.
import micropython


@micropython.viper
def windows(x: ptr8, out: ptr8, positions: int, kernel_size: int, stride: int):
    # out[p, i] = x[p*stride + i]
    while positions:
        i = 0
        while i < kernel_size:
            out[i] = x[i]
            i += 1
        x = ptr8(int(x) + stride)
        out = ptr8(int(out) + kernel_size)
        positions -= 1


@micropython.viper
def transpose(x: ptr8, out: ptr8, rows: int, columns: int):
    # [rows, columns] -> [columns, rows]
    step = rows
    while rows:
        o = out
        n = columns
        while n:
            o[0] = x[0]
            x = ptr8(int(x) + 1)
            o = ptr8(int(o) + step)
            n -= 1
        out = ptr8(int(out) + 1)
        rows -= 1
