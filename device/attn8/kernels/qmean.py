# Means in Q formats, exact: no sum leaves its word.
import micropython


@micropython.viper
def mean(x: ptr8, acc: int, out: ptr8, rows: int, columns: int, size: int):
    # out[i] = sum_r x[r, i] / rows, rounded half up, of integers of `size` bytes, 2 or 4; rows is
    # 2**15 at most
    sign = 1
    sign <<= 31
    i = 0
    while i < columns:
        source = int(x) + i * size
        high = 0
        low = rows >> 1
        n = rows
        while n:
            if size == 2:
                acc = (ptr16(source)[0] ^ 32768) - 32768
            else:
                acc = (ptr32(source)[0] ^ sign) - sign
            high += acc >> 16
            low += acc & 65535
            source += columns * size
            n -= 1
        high += low >> 16
        acc = high // rows
        low = (low & 65535) + ((high - acc * rows) << 16)
        acc = (acc << 16) + low // rows
        if size == 2:
            ptr16(out)[i] = acc
        else:
            ptr32(out)[i] = acc
        i += 1
