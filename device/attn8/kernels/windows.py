# Windows over one axis: their largest values, or all of them.
import micropython


@micropython.viper
def largest(x: ptr8, acc: int, out: ptr8, at: int, to: int, positions: int, taps: int,
            channels: int, stride: int, start: int, length: int, wide: int):
    # out[p, c] = max over k < taps of x[start + p*stride + k, c], of the rows that x [length,
    # channels] has, one at least; int8, or int16 where `wide`
    # x begins `at` bytes further on, out `to`
    x = ptr8(int(x) + at)
    out = ptr8(int(out) + to)
    while positions:
        first = start
        n = taps
        if first < 0:
            n += first
            first = 0
        if first + n > length:
            n = length - first
        c = 0
        while c < channels:
            source = int(x) + ((first * channels + c) << wide)
            acc = -32768
            k = n
            while k:
                if wide:
                    value = (ptr16(source)[0] ^ 32768) - 32768
                else:
                    value = (ptr8(source)[0] ^ 128) - 128
                if value > acc:
                    acc = value
                source += channels << wide
                k -= 1
            if wide:
                ptr16(out)[c] = acc
            else:
                out[c] = acc
            c += 1
        out = ptr8(int(out) + (channels << wide))
        start += stride
        positions -= 1


@micropython.viper
def line(x: ptr8, at: int, out: ptr8, to: int, positions: int, run: int, skip: int, stride: int,
         start: int, size: int):
    # out[to + p*skip + (0:run)] = x[at + start + p*stride + (0:run)], in bytes; 0 where that is
    # outside of the `size` bytes from x[at] on
    out = ptr8(int(out) + to)
    x = ptr8(int(x) + at)
    while positions:
        i = 0
        while i < run:
            source = start + i
            if source < 0 or source >= size:
                out[i] = 0
            else:
                out[i] = x[source]
            i += 1
        out = ptr8(int(out) + skip)
        start += stride
        positions -= 1
