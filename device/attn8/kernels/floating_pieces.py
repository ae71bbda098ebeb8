# As kernels/fixed_pieces.py, in the board's own floats (see floating.py).
import math

import micropython


@micropython.native
def clamp(x, at, out, n, low, high):
    for i in range(n):
        out[i] = max(low, min(high, x[i]))


@micropython.native
def steps(x, at, c, out, n):
    for i in range(n):
        out[i] = c[2] if x[i] <= c[0] else c[3] if x[i] < c[1] else c[4]


@micropython.native
def softplus(x, at, out, table, n, frac):
    for i in range(n):
        # log1p of what a float may not add to 1
        y = math.exp(-abs(x[i]))
        z = 1 + y
        out[i] = max(x[i], 0.0) + (math.log(z) * y / (z - 1) if z > 1 else y)
