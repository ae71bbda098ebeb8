# Two axes exchanged, as between tokens and heads.
import micropython


@micropython.viper
def swap_axes(x: ptr32, out: ptr32, n: int, m: int, size: int, rows: int):
    # x [n, m, size] -> the first n of out [m, rows, size], in words where sizes and places allow
    words = ((int(x) | int(out) | size) & 3) == 0
    step = (rows - 1) * size
    back = m * rows * size - size
    while n:
        i = m
        while i:
            j = size
            if words:
                while j >= 16:
                    out[0] = x[0]
                    out[1] = x[1]
                    out[2] = x[2]
                    out[3] = x[3]
                    x = ptr32(int(x) + 16)
                    out = ptr32(int(out) + 16)
                    j -= 16
                while j:
                    out[0] = x[0]
                    x = ptr32(int(x) + 4)
                    out = ptr32(int(out) + 4)
                    j -= 4
            else:
                source = ptr8(x)
                target = ptr8(out)
                while j:
                    j -= 1
                    target[j] = source[j]
                x = ptr32(int(x) + size)
                out = ptr32(int(out) + size)
            out = ptr32(int(out) + step)
            i -= 1
        out = ptr32(int(out) - back)
        n -= 1

