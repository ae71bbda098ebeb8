# What a convolution needs besides the matrix product.
import micropython


@micropython.viper
def windows(x: ptr8, out: ptr8, positions: int, taps: int, run: int, stride: int, dilation: int,
            start: int, size: int):
    # out[p, k, 0:run] = x[start + p*stride + k*dilation + (0:run)], all of it in bytes; 0 where
    # that begins outside of the `size` bytes of x
    while positions:
        at = start
        k = taps
        while k:
            n = run
            if at < 0 or at >= size:
                while n:
                    out[0] = 0
                    out = ptr8(int(out) + 1)
                    n -= 1
            else:
                source = ptr8(int(x) + at)
                i = 0
                while i < n:
                    out[i] = source[i]
                    i += 1
                out = ptr8(int(out) + n)
            at += dilation
            k -= 1
        start += stride
        positions -= 1
