# Adam in fixed point, and the root that it and gradient clipping take; see fixed.py.
import micropython


@micropython.viper
def adam(value: ptr32, acc: int, grad: ptr32, first: ptr32, second: ptr32, n: int, up: int,
         constants: ptr32, limit: int, count: ptr32):
    # Clears the gradient. With g the gradient in 2**-16, at most sqrt(2):
    #   m += (1 - beta1)*(g - m) in 2**-28,  v += (1 - beta2)*(g*g - v) in 2**-30,
    #   value -= lr * m / (sqrt(v) + eps), the quotient in 2**-12
    # constants: mult, shift of 1 - beta1, of 1 - beta2 and of lr, and eps in 2**-15
    sign = 1
    sign <<= 31
    most = 92681 >> up
    while n:
        acc = (grad[0] ^ sign) - sign
        grad[0] = 0
        if acc > most:
            acc = 92681
            count[0] = count[0] + 1
        elif acc < 0 - most:
            acc = -92681
            count[0] = count[0] + 1
        else:
            acc <<= up

        x = (first[0] ^ sign) - sign
        shift = constants[1] - 15
        d = (acc << 12) - x
        d = (d >> 15) * constants[0] + (((d & 32767) * constants[0]) >> 15)
        x += (d + ((1 << shift) >> 1)) >> shift
        first[0] = x
        if acc < 0:
            acc = 0 - acc
        acc >>= 1
        v = second[0]
        shift = constants[3] - 15
        d = acc * acc - v
        d = (d >> 15) * constants[2] + (((d & 32767) * constants[2]) >> 15)
        v += (d + ((1 << shift) >> 1)) >> shift
        second[0] = v

        root = 0
        bit = 1
        bit <<= 30
        while bit:
            if v >= root + bit:
                v -= root + bit
                root = (root >> 1) + bit
            else:
                root >>= 1
            bit >>= 2
        x = ((x >> 13) << 12) // (root + constants[6])
        shift = constants[5] - 15
        x = (x >> 15) * constants[4] + (((x & 32767) * constants[4]) >> 15)
        acc = (value[0] ^ sign) - sign - ((x + ((1 << shift) >> 1)) >> shift)
        if acc > limit:
            acc = limit
            count[0] = count[0] + 1
        elif acc < 0 - limit:
            acc = 0 - limit
            count[0] = count[0] + 1
        value[0] = acc
        value = ptr32(int(value) + 4)
        grad = ptr32(int(grad) + 4)
        first = ptr32(int(first) + 4)
        second = ptr32(int(second) + 4)
        n -= 1


@micropython.viper
def root(x: int) -> int:
    # floor(sqrt(x)), 0 <= x < 2**31
    result = 0
    bit = 1
    bit <<= 30
    while bit:
        if x >= result + bit:
            x -= result + bit
            result = (result >> 1) + bit
        else:
            result >>= 1
        bit >>= 2
    return result
