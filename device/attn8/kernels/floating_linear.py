# As kernels/fixed_linear.py and fixed_norm.stretch, in the board's own floats (see floating.py).
import math

import micropython


@micropython.native
def elu_plus_one(x, at, out, table, n, frac, limit, count):
    for i in range(n):
        out[i] = x[i] + 1 if x[i] > 0 else math.exp(x[i])


@micropython.native
def reciprocals(x, at, factors, n, frac):
    for i in range(n):
        factors[i] = 1 / x[i] if x[i] > 0 else 0.0


@micropython.native
def stretch(d, at, factors, rows, n, limit, count):
    for i in range(rows * n):
        d[i] *= factors[i // n]


@micropython.native
def blank(x, first, n):
    for i in range(first, n):
        x[i] = 0.0


@micropython.native
def triangle(x, n):
    for i in range(n):
        for j in range(i + 1, n):
            x[i * n + j] = 0.0
