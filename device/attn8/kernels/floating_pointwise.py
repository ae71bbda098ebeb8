# What training computes value by value in the board's own floats (see floating.py).
import math

import micropython

ROOT = 0.7071067811865476  # of 1/2
DENSITY = 0.3989422804014327  # 1 / sqrt(2 * pi)


@micropython.native
def multiply(x, y, out, rows, columns, add=0):
    # out[r, j] = x[r, j] * y[j], or added to out
    for i in range(rows * columns):
        value = x[i] * y[i % columns]
        out[i] = out[i] + value if add else value


@micropython.native
def within(x, out, n, most):
    for i in range(n):
        out[i] = max(-most, min(most, x[i]))


@micropython.native
def sigmoid(x, out, n):
    for i in range(n):
        out[i] = 0.5 * (1 + math.tanh(0.5 * x[i]))


@micropython.native
def tanh(x, out, n):
    for i in range(n):
        out[i] = math.tanh(x[i])


@micropython.native
def normal(x, out, n):
    for i in range(n):
        out[i] = 0.5 * (1 + math.erf(x[i] * ROOT))


@micropython.native
def density(x, out, n):
    for i in range(n):
        out[i] = math.exp(-0.5 * x[i] * x[i]) * DENSITY


@micropython.native
def centre(x, out, rows, n):
    # out = x without its row's mean. out may be x.
    for first in range(0, rows * n, n):
        total = 0.0
        for i in range(first, first + n):
            total += x[i]
        total /= n
        for i in range(first, first + n):
            out[i] = x[i] - total


@micropython.native
def normalize(x, out, rows, n, eps, factors):
    # out = x / sqrt(mean(x**2) + eps), row by row; factors: the reciprocals of the roots, 0 of 0
    for r in range(rows):
        first = r * n
        total = 0.0
        for i in range(first, first + n):
            total += x[i] * x[i]
        total = total / n + eps
        factor = 1 / math.sqrt(total) if total > 0 else 0.0
        factors[r] = factor
        for i in range(first, first + n):
            out[i] = x[i] * factor


@micropython.native
def project(d, z, rows, n):
    # In place: d = d - z * mean(d * z), row by row
    for first in range(0, rows * n, n):
        total = 0.0
        for i in range(first, first + n):
            total += d[i] * z[i]
        total /= n
        for i in range(first, first + n):
            d[i] -= z[i] * total


@micropython.native
def stretch(d, factors, rows, n):
    # In place: d times the factor of its row
    for i in range(rows * n):
        d[i] *= factors[i // n]
