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
