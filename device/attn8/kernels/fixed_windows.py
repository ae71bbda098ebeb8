# Windows over one axis in words of fixed point: their largest values, and gradients back to what
# windows see, summed up, saturating at each step (see fixed.py).
import micropython


@micropython.viper
def largest(x: ptr32, acc: int, out: ptr32, at: int, to: int, positions: int, taps: int,
            channels: int, stride: int, start: int, length: int):
    # As windows.largest has it
    sign = 1
    sign <<= 31
    x = ptr32(int(x) + (at << 2))
    out = ptr32(int(out) + (to << 2))
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
            source = ptr32(int(x) + ((first * channels + c) << 2))
            acc = (source[0] ^ sign) - sign
            k = n - 1
            while k:
                source = ptr32(int(source) + (channels << 2))
                value = (source[0] ^ sign) - sign
                if value > acc:
                    acc = value
                k -= 1
            out[c] = acc
            c += 1
        out = ptr32(int(out) + (channels << 2))
        start += stride
        positions -= 1


@micropython.viper
def back(x: ptr32, acc: int, grad: ptr32, dx: ptr32, at: int, to: int, positions: int, taps: int,
         channels: int, stride: int, start: int, length: int, limit: int, count: ptr32):
    # Adds the gradient of each largest value to that of the first of x which has it
    sign = 1
    sign <<= 31
    x = ptr32(int(x) + (at << 2))
    dx = ptr32(int(dx) + (at << 2))
    grad = ptr32(int(grad) + (to << 2))
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
            place = first * channels + c
            i = place
            acc = (x[i] ^ sign) - sign
            k = n - 1
            while k:
                i += channels
                value = (x[i] ^ sign) - sign
                if value > acc:
                    acc = value
                    place = i
                k -= 1
            acc = ((dx[place] ^ sign) - sign) + ((grad[c] ^ sign) - sign)
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            dx[place] = acc
            c += 1
        grad = ptr32(int(grad) + (channels << 2))
        start += stride
        positions -= 1


@micropython.viper
def fold(grad: ptr32, acc: int, dx: ptr32, at: int, to: int, positions: int, taps: int,
         channels: int, skip: int, stride: int, start: int, length: int, limit: int, count: ptr32):
    # dx[to + start + p*stride + k, c] += grad[at + p*skip + k, c], first of all p for k = 0, where
    # that is among the `length` rows of `channels` words from dx[to] on
    sign = 1
    sign <<= 31
    grad = ptr32(int(grad) + (at << 2))
    dx = ptr32(int(dx) + (to << 2))
    while taps:
        row = start
        p = 0
        while p < positions:
            if row >= 0 and row < length:
                source = ptr32(int(grad) + ((p * skip) << 2))
                target = ptr32(int(dx) + ((row * channels) << 2))
                c = 0
                while c < channels:
                    acc = ((target[c] ^ sign) - sign) + ((source[c] ^ sign) - sign)
                    if acc > limit:
                        acc = limit
                        count[0] = count[0] + 1
                    elif acc < 0 - limit:
                        acc = 0 - limit
                        count[0] = count[0] + 1
                    target[c] = acc
                    c += 1
            row += stride
            p += 1
        grad = ptr32(int(grad) + (channels << 2))
        start += 1
        taps -= 1
