# Numbers of 32 bits as int8, by channel.
import micropython


@micropython.viper
def feed(x: ptr32, code: int, start: int, first: int, channels: ptr32, count: int, inner: int,
         out: ptr8, n: int) -> int:
    # out[first + i] of x[start + i], i < n. code: 0 where x holds floats, 1 int32, 2 int16. -> n,
    # or the first i where x[start + i] is NaN or infinite.
    sign = 1
    sign <<= 31
    most = (1 << 30) - 1
    half = ptr16(int(x) + start + start)
    x = ptr32(int(x) + (start << 2))
    i = 0
    while i < n:
        c = (((first + i) // inner) % count) << 2
        k = (channels[c] ^ sign) - sign
        # x[i] = a * 2**(k - frac), |a| < 2**30
        if code == 2:
            a = (half[i] ^ 32768) - 32768
        else:
            a = (x[i] ^ sign) - sign
            if code == 0:
                e = (a >> 23) & 255
                if e == 255:
                    return i
                negative = a < 0
                a &= 8388607
                if e:
                    a |= 8388608
                    e -= 1
                k += e - 149
                if negative:
                    a = 0 - a
            elif a > most:
                a = most
            elif a < 0 - most:
                a = 0 - most
        if k < 0:
            k = 0 - k
            if k > 31:
                k = 31
            a = (a + (1 << (k - 1))) >> k
        elif a:
            if k > 31:
                k = 31
            if a > most >> k:
                a = most
            elif a < 0 - (most >> k):
                a = 0 - most
            else:
                a <<= k
        # Two words of 31 bits: their difference has 32
        a -= (channels[c + 1] ^ sign) - sign
        if a > most:
            a = most
        elif a < 0 - most:
            a = 0 - most
        m = channels[c + 2]
        s = channels[c + 3] - 16
        a = (a >> 15) * m + (((a & 32767) * m) >> 15)
        a = (a + (1 << s)) >> (s + 1)
        if a > 127:
            a = 127
        elif a < -127:
            a = -127
        out[first + i] = a
        i += 1
    return n
