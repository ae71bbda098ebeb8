# Products of training's fixed point (see attn8/kernels/fixed.py): operands become mantissas of 15
# bits, with an exponent a row.
import micropython


@micropython.viper
def pack(x: ptr32, acc: int, m: ptr32, exponents: ptr8, offset: int, rows: int, inner: int,
         row_stride: int, step: int):
    # Row by row m = round(x / 2**e) with the smallest e that makes every |m| <= 16383;
    # offset, row_stride and step count words of x, m [rows, inner] is contiguous
    sign = 1
    sign <<= 31
    row_stride <<= 2
    step <<= 2
    x = ptr32(int(x) + (offset << 2))
    while rows:
        start = int(x)
        peak = 0
        n = inner
        while n:
            acc = (x[0] ^ sign) - sign
            acc ^= acc >> 31
            if acc > peak:
                peak = acc
            x = ptr32(int(x) + step)
            n -= 1
        e = 0
        while (peak >> e) > 16382:
            e += 1
        exponents[0] = e
        exponents = ptr8(int(exponents) + 1)
        half = 0
        if e:
            half = 1
            e -= 1
        x = ptr32(start)
        n = inner
        while n:
            acc = (x[0] ^ sign) - sign
            m[0] = ((acc >> e) + half) >> half
            m = ptr32(int(m) + 4)
            x = ptr32(int(x) + step)
            n -= 1
        x = ptr32(start + row_stride)
        rows -= 1


@micropython.viper
def matmul(a: ptr32, acc: int, b: ptr32, a_exponents: ptr8, b_exponents: ptr8, out: ptr32,
           offset: int, cols: int, shape: ptr32, count: ptr32):
    # out[i, j] = sum_k a[i, k]*b[j, k], or added to out; a and b are packed. The words of `shape`:
    # rows, inner, out's row_stride and step, guard, frac, limit, whether to add. Loads of a and b
    # need no sign: eight products are right modulo 2**32, and their sum lies within int32.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    rows = shape[0]
    inner = shape[1]
    row_stride = shape[2] << 2
    step = shape[3] << 2
    guard = shape[4]
    frac = shape[5]
    limit = shape[6]
    add = shape[7]
    start = int(a)
    out = ptr32(int(out) + (offset << 2))
    while cols:
        a = ptr32(start)
        target = out
        i = 0
        while i < rows:
            total = 0
            r = b
            n = inner >> 3
            while n:
                acc = a[0] * r[0]
                acc = a[1] * r[1] + acc
                acc = a[2] * r[2] + acc
                acc = a[3] * r[3] + acc
                acc = a[4] * r[4] + acc
                acc = a[5] * r[5] + acc
                acc = a[6] * r[6] + acc
                acc = a[7] * r[7] + acc
                total += (((acc & mask) ^ sign) - sign) >> guard
                a = ptr32(int(a) + 32)
                r = ptr32(int(r) + 32)
                n -= 1
            n = inner & 7
            if n:
                acc = 0
                while n:
                    acc = a[0] * r[0] + acc
                    a = ptr32(int(a) + 4)
                    r = ptr32(int(r) + 4)
                    n -= 1
                total += (((acc & mask) ^ sign) - sign) >> guard
            shift = frac - guard - a_exponents[i] - b_exponents[0]
            if shift > 0:
                total = ((total >> (shift - 1)) + 1) >> 1
            else:
                shift = 0 - shift
                most = limit >> shift
                if total > most or total < 0 - most:
                    count[0] = count[0] + 1
                    most = limit
                    if total < 0:
                        most = 0 - limit
                    total = most
                else:
                    total <<= shift
            if add:
                total += (target[0] ^ sign) - sign
            if total > limit:
                total = limit
                count[0] = count[0] + 1
            elif total < 0 - limit:
                total = 0 - limit
                count[0] = count[0] + 1
            target[0] = total
            target = ptr32(int(target) + row_stride)
            i += 1
        b = ptr32(int(b) + (inner << 2))
        b_exponents = ptr8(int(b_exponents) + 1)
        out = ptr32(int(out) + step)
        cols -= 1
