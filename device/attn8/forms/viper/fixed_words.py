# What training computes word by word in fixed point (see attn8/kernels/fixed.py).
import micropython


@micropython.viper
def peak(x: ptr32, acc: int, n: int) -> int:
    # The largest of max(x, -1 - x)
    sign = 1
    sign <<= 31
    largest = 0
    while n:
        acc = (x[0] ^ sign) - sign
        acc ^= acc >> 31
        if acc > largest:
            largest = acc
        x = ptr32(int(x) + 4)
        n -= 1
    return largest


@micropython.viper
def spread(x: ptr32, out: ptr32, rows: int, columns: int):
    # out[r, j] = x[j]
    while rows:
        j = 0
        while j < columns:
            out[j] = x[j]
            j += 1
        out = ptr32(int(out) + (columns << 2))
        rows -= 1


@micropython.viper
def column_sums(x: ptr32, acc: int, out: ptr32, rows: int, columns: int, limit: int,
                count: ptr32):
    # out[j] += sum_r x[r, j], saturating at each step
    sign = 1
    sign <<= 31
    j = 0
    while j < columns:
        source = ptr32(int(x) + (j << 2))
        acc = (out[j] ^ sign) - sign
        n = rows
        while n:
            acc += (source[0] ^ sign) - sign
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            source = ptr32(int(source) + (columns << 2))
            n -= 1
        out[j] = acc
        j += 1


@micropython.viper
def add(x: ptr32, y: ptr32, out: ptr32, n: int, negate: int, limit: int, count: ptr32):
    # out = x + y, or x - y where `negate` is -1 (otherwise 0)
    sign = 1
    sign <<= 31
    while n:
        acc = (((y[0] ^ sign) - sign) ^ negate) - negate
        acc += (x[0] ^ sign) - sign
        if acc > limit:
            acc = limit
            count[0] = count[0] + 1
        elif acc < 0 - limit:
            acc = 0 - limit
            count[0] = count[0] + 1
        out[0] = acc
        x = ptr32(int(x) + 4)
        y = ptr32(int(y) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def scale(x: ptr32, acc: int, out: ptr32, n: int, mult: int, shift: int):
    # out = x * mult / 2**shift, rounded half up; mult <= 2**15 and shift >= 15, so |out| <= |x|
    sign = 1
    sign <<= 31
    shift -= 15
    high = (1 << shift) >> 1
    low = 0
    if shift == 0:
        low = 16384
    while n:
        acc = (x[0] ^ sign) - sign
        acc = (acc >> 15) * mult + (((acc & 32767) * mult + low) >> 15)
        out[0] = (acc + high) >> shift
        x = ptr32(int(x) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def relu(x: ptr32, gate: ptr32, out: ptr32, n: int):
    # out = x where gate > 0, else 0
    sign = 1
    sign <<= 31
    while n:
        value = 0
        if gate[0] and (gate[0] & sign) == 0:
            value = x[0]
        out[0] = value
        x = ptr32(int(x) + 4)
        gate = ptr32(int(gate) + 4)
        out = ptr32(int(out) + 4)
        n -= 1


@micropython.viper
def sgd(value: ptr32, acc: int, grad: ptr32, velocity: ptr32, n: int, momentum: int,
        momentum_shift: int, lr: int, lr_shift: int, limit: int, count: ptr32):
    # velocity = momentum*velocity + grad; value -= lr*velocity; grad = 0. Where momentum is 0:
    # lr*grad. Both are (mult, shift) as `scale` takes them.
    sign = 1
    sign <<= 31
    lr_shift -= 15
    lr_high = (1 << lr_shift) >> 1
    lr_low = 0
    if lr_shift == 0:
        lr_low = 16384
    momentum_shift -= 15
    high = (1 << momentum_shift) >> 1
    low = 0
    if momentum_shift == 0:
        low = 16384
    while n:
        acc = (grad[0] ^ sign) - sign
        grad[0] = 0
        if momentum:
            v = (velocity[0] ^ sign) - sign
            v = (v >> 15) * momentum + (((v & 32767) * momentum + low) >> 15)
            acc += (v + high) >> momentum_shift
            if acc > limit:
                acc = limit
                count[0] = count[0] + 1
            elif acc < 0 - limit:
                acc = 0 - limit
                count[0] = count[0] + 1
            velocity[0] = acc
            velocity = ptr32(int(velocity) + 4)
        acc = (acc >> 15) * lr + (((acc & 32767) * lr + lr_low) >> 15)
        acc = (value[0] ^ sign) - sign - ((acc + lr_high) >> lr_shift)
        if acc > limit:
            acc = limit
            count[0] = count[0] + 1
        elif acc < 0 - limit:
            acc = 0 - limit
            count[0] = count[0] + 1
        value[0] = acc
        value = ptr32(int(value) + 4)
        grad = ptr32(int(grad) + 4)
        n -= 1


@micropython.viper
def squares(x: ptr32, acc: int, n: int, shift: int) -> int:
    # sum((x >> shift)**2)
    sign = 1
    sign <<= 31
    total = 0
    while n:
        acc = ((x[0] ^ sign) - sign) >> shift
        total += acc * acc
        x = ptr32(int(x) + 4)
        n -= 1
    return total
