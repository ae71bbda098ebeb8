# Products of int16 with int8 weights, by kernels that take int8: x = 256*(x >> 8) + (x & 255), so
# of the sums of both halves, the low one less 128, sum(x*w) = 256*high + low + 128*sum(w).
import micropython


@micropython.viper
def split(x: ptr16, acc: int, halves: ptr8, first: int, rows: int, n: int, down: int):
    # Rows first..first + rows - 1 of x [., n], each rounded to x / 2**down -> halves int8
    # [rows, 2, n]
    half = (1 << down) >> 1
    x = ptr16(int(x) + ((first * n) << 1))
    low = ptr8(int(halves) + n)
    while rows:
        i = 0
        while i < n:
            acc = ((x[i] ^ 32768) - 32768 + half) >> down
            halves[i] = acc >> 8
            low[i] = acc ^ 128
            i += 1
        x = ptr16(int(x) + (n << 1))
        halves = ptr8(int(halves) + (n << 1))
        low = ptr8(int(low) + (n << 1))
        rows -= 1


@micropython.viper
def join(sums: ptr32, acc: int, bias: ptr32, mult: ptr16, shift: ptr8, out: ptr8, first: int,
         rows: int, n: int, most: int):
    # Rows first..first + rows - 1 of out [., n] = 256*sums[r, 0] + sums[r, 1] + bias, int32; where
    # most is not 0 requantized to int8 or, where it is above 127, int16
    sign = 1
    sign <<= 31
    size = 2
    if most == 0:
        size = 4
    elif most < 128:
        size = 1
    out = ptr8(int(out) + first * n * size)
    while rows:
        low = ptr32(int(sums) + (n << 2))
        j = 0
        while j < n:
            acc = (((sums[j] ^ sign) - sign) << 8) + (low[j] ^ sign) - sign
            acc = acc + (bias[j] ^ sign) - sign
            if most == 0:
                ptr32(out)[j] = acc
            else:
                m = mult[j]
                s = shift[j] - 16
                acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
                acc = (acc + (1 << s)) >> (s + 1)
                if acc > most:
                    acc = most
                elif acc < 0 - most:
                    acc = 0 - most
                if size == 2:
                    ptr16(out)[j] = acc
                else:
                    out[j] = acc
            j += 1
        sums = ptr32(int(sums) + (n << 3))
        out = ptr8(int(out) + n * size)
        rows -= 1


@micropython.viper
def total(w: ptr8, acc: int, n: int, row: int, magnitudes: int) -> int:
    # The sum of a row of w int8 [., n], or of its magnitudes
    w = ptr8(int(w) + row * n)
    while n:
        n -= 1
        b = (w[n] ^ 128) - 128
        if b < 0 and magnitudes:
            b = 0 - b
        acc += b
    return acc
