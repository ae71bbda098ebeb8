# Probabilities of the last layer's results.
import micropython


@micropython.viper
def softmax(x: ptr8, acc: int, out: ptr16, table: ptr16, rows: int, columns: int, wide: int,
            mult: int, shift: int, limit: int):
    # out[r, j] = 2**-t / sum_j 2**-t in Q15, rounded, where t = mult/2**(12 + shift) octaves of
    # (largest x of the row - x): a table of one octave, between its numbers a line. Beyond `limit`
    # it is 0. x is int8, int16 or int32, `wide` 0, 1 or 2.
    sign = 1
    sign <<= 31
    half = (1 << shift) >> 1
    at = int(x)
    while rows:
        largest = 0
        for again in range(2):
            # At first the largest, then the numerators and their sum
            total = 0
            j = 0
            source = at
            while j < columns:
                if wide == 0:
                    acc = (ptr8(source)[0] ^ 128) - 128
                elif wide == 1:
                    acc = (ptr16(source)[0] ^ 32768) - 32768
                else:
                    acc = (ptr32(source)[0] ^ sign) - sign
                source += 1 << wide
                if again:
                    acc = largest - acc
                    if acc > limit or acc < 0:
                        acc = 0
                    else:
                        acc = (acc * mult + half) >> shift
                        i = (acc >> 4) & 255
                        step = table[i] - 32768
                        if i < 255:
                            step = table[i] - table[i + 1]
                        step = table[i] - ((step * (acc & 15) + 8) >> 4)
                        acc = ((step >> (acc >> 12)) + 1) >> 1
                    out[j] = acc
                    total += acc
                elif j == 0 or acc > largest:
                    largest = acc
                j += 1
        at = source
        j = 0
        while j < columns:
            acc = out[j] << 15
            i = acc // total
            acc -= i * total
            if acc + acc >= total:
                i += 1
            out[j] = i
            j += 1
        out = ptr16(int(out) + (columns << 1))
        rows -= 1
