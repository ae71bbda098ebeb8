# Training in the board's own floats, for comparison with fixed point: the native emitter, which
# boxes every number. Like the viper kernels these trust their callers, but they allocate.
import math

import micropython


@micropython.native
def finite(x, n):
    for i in range(n):
        if not -3.0e38 < x[i] < 3.0e38:
            return False
    return True


@micropython.native
def matmul(a, b, out, shape, a_offset, b_offset, offset):
    # shape: rows, cols, inner, row stride and step of a, of b and of out, whether to add
    rows, cols, inner, a_row, a_step, b_row, b_step, row_stride, step, add = shape
    for i in range(rows):
        for j in range(cols):
            p = a_offset + i * a_row
            q = b_offset + j * b_row
            total = 0.0
            for _ in range(inner):
                total += a[p] * b[q]
                p += a_step
                q += b_step
            o = offset + i * row_stride + j * step
            out[o] = out[o] + total if add else total


@micropython.native
def spread(x, out, rows, columns):
    for i in range(rows * columns):
        out[i] = x[i % columns]


@micropython.native
def column_sums(x, out, rows, columns):
    for i in range(rows * columns):
        out[i % columns] += x[i]


@micropython.native
def add(x, y, out, n, factor):
    # out = x + factor*y
    for i in range(n):
        out[i] = x[i] + factor * y[i]


@micropython.native
def scale(x, out, n, factor):
    for i in range(n):
        out[i] = x[i] * factor


@micropython.native
def relu(x, gate, out, n):
    for i in range(n):
        out[i] = x[i] if gate[i] > 0 else 0.0


@micropython.native
def hide(scores, rows, columns, length, first):
    for r in range(rows):
        for j in range(min(length, first + r + 1), columns):
            scores[r * columns + j] = -1.0e30


@micropython.native
def mask(x, at, rows, columns, bits, first, length, value):
    # As kernels/fixed_mask.py
    stride = (columns + 7) >> 3
    for r in range(rows):
        row = (first + r) * stride
        for j in range(columns):
            if j >= length or not (bits[row + (j >> 3)] >> (j & 7)) & 1:
                x[at + r * columns + j] = value


@micropython.native
def softmax(scores, out, offset, rows, columns, factor):
    # -> the logarithm of the last row's sum
    total = 1.0
    for r in range(rows):
        first = r * columns
        largest = scores[first]
        for j in range(first, first + columns):
            largest = max(largest, scores[j])
        total = 0.0
        for j in range(columns):
            e = math.exp((scores[first + j] - largest) * factor)
            out[offset + first + j] = e
            total += e
        for j in range(offset + first, offset + first + columns):
            out[j] /= total
    return math.log(total)


@micropython.native
def softmax_backward(weights, offset, d, rows, columns, factor):
    for r in range(rows):
        first = r * columns
        total = 0.0
        for j in range(first, first + columns):
            total += d[j] * weights[offset + j]
        for j in range(first, first + columns):
            d[j] = weights[offset + j] * (d[j] - total) * factor


@micropython.native
def sgd(value, grad, velocity, n, momentum, lr):
    for i in range(n):
        g = grad[i]
        grad[i] = 0.0
        if momentum:
            g += momentum * velocity[i]
            velocity[i] = g
        value[i] -= lr * g


@micropython.native
def adam(value, grad, first, second, n, rate1, rate2, lr, eps):
    for i in range(n):
        g = grad[i]
        grad[i] = 0.0
        m = first[i] + rate1 * (g - first[i])
        v = second[i] + rate2 * (g * g - second[i])
        first[i] = m
        second[i] = v
        value[i] -= lr * m / (math.sqrt(v) + eps)


@micropython.native
def squares(x, n):
    total = 0.0
    for i in range(n):
        total += x[i] * x[i]
    return total
