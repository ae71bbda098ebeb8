# Softmax weights of int16 attention, in place.
import micropython


@micropython.viper
def softmax(scores: ptr32, x: int, sums: ptr32, table: ptr16, heads: int, count: int, mult: int,
            shift: int):
    # In place: weights of about 32256 in all (see kernels.exact16.softmax), sums[h] their sum
    sign = 1
    sign <<= 31
    s = shift - 16
    while heads:
        largest = sign
        j = 0
        while j < count:
            x = (scores[j] ^ sign) - sign
            if j == 0 or x > largest:
                largest = x
            j += 1
        total = 0
        j = 0
        while j < count:
            x = largest - ((scores[j] ^ sign) - sign)
            x = (x >> 15) * mult + (((x & 32767) * mult) >> 15)
            x = (x + (1 << s)) >> (s + 1)
            if x >> 18:
                x = 0
            else:
                i = (x >> 6) & 255
                y = table[i]
                below = 32768
                if i < 255:
                    below = table[i + 1]
                x = (((y - (((y - below) * (x & 63)) >> 6)) >> (x >> 14)) + 1) >> 1
            scores[j] = x
            total += x
            j += 1
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        m = ((63 << 24) + (m >> 1)) // m
        total = 0
        p += 15
        half = (1 << p) >> 1
        j = 0
        while j < count:
            x = (scores[j] * m + half) >> p
            scores[j] = x
            total += x
            j += 1
        sums[0] = total
        sums = ptr32(int(sums) + 4)
        scores = ptr32(int(scores) + (count << 2))
        heads -= 1
