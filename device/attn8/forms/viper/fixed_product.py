# Products of training's fixed point (see attn8/kernels/fixed.py): operands become mantissas of 15
# bits, each row of them behind its exponent.
import micropython


def room(rows, cols, inner):
    # The bytes that `matmul` works in, with so many rows of a, and of b, at a time
    return 4 * (rows + cols) * (inner + 1)


def matmul(a: ptr32, acc: int, b: ptr32, out: ptr32, a_offset: int, b_offset: int, offset: int,
           again: int, shape: ptr32, room: ptr32, count: ptr32):
    # out[i, j] = sum_k a[i, k]*b[j, k], or added to out. The words of `shape`: rows, inner, out's
    # strides of i and j, guard, frac, limit, whether to add, cols, strides of i and k of a, of j
    # and k of b, rows of either that are packed at a time; offsets and strides count words. again:
    # what `room` has of a is still there, of a product with as many rows.
    rows, inner = shape[0], shape[1]
    right = shape[13] * (inner + 1)
    while rows:
        block = min(rows, shape[13])
        if not again:
            _pack(a, 0, room, a_offset, 0, block, inner, shape[9], shape[10])
        cols, column, place = shape[8], b_offset, offset
        while cols:
            group = min(cols, shape[14])
            _pack(b, 0, room, column, right, group, inner, shape[11], shape[12])
            _multiply(room, 0, room, right, out, place, block, group, shape, count)
            column += group * shape[11]
            place += group * shape[3]
            cols -= group
        a_offset += block * shape[9]
        offset += block * shape[2]
        rows -= block
        again = 0


@micropython.viper
def _pack(x: ptr32, acc: int, m: ptr32, offset: int, place: int, rows: int, inner: int,
          row_stride: int, step: int):
    # Row by row e and m = round(x / 2**e) with the smallest e that makes every |m| <= 16383;
    # offset, row_stride and step count words of x, place words of m
    sign = 1
    sign <<= 31
    row_stride <<= 2
    step <<= 2
    x = ptr32(int(x) + (offset << 2))
    m = ptr32(int(m) + (place << 2))
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
        m[0] = e
        m = ptr32(int(m) + 4)
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
def _multiply(a: ptr32, acc: int, b: ptr32, place: int, out: ptr32, offset: int, rows: int,
              cols: int, shape: ptr32, count: ptr32):
    # Of packed rows: a [rows], and b [cols], from `place` on. Loads of a and b need no sign: eight
    # products are right modulo 2**32, and their sum lies within int32.
    sign = 1
    sign <<= 31
    mask = (sign << 1) - 1
    inner = shape[1]
    row_stride = shape[2] << 2
    step = shape[3] << 2
    guard = shape[4]
    frac = shape[5]
    limit = shape[6]
    add = shape[7]
    start = int(a)
    b = ptr32(int(b) + (place << 2))
    out = ptr32(int(out) + (offset << 2))
    while cols:
        a = ptr32(start)
        target = out
        i = 0
        while i < rows:
            total = 0
            r = b
            shift = frac - guard - a[0] - r[0]
            a = ptr32(int(a) + 4)
            r = ptr32(int(r) + 4)
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
        b = ptr32(int(b) + (inner << 2) + 4)
        out = ptr32(int(out) + step)
        cols -= 1
