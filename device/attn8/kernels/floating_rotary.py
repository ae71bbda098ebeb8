# As kernels/fixed_rotary.py, in the board's own floats (see floating.py).
import math

import micropython


@micropython.native
def rotate(x, at, turns, sines, rows, heads, head_dim, back, limit, count):
    for row in range(rows):
        for pair in range(0, head_dim, 2):
            angle = turns[pair >> 1] * row * (2 * math.pi / 4294967296)
            sine, cosine = math.sin(angle), math.cos(angle)
            if back:
                sine = -sine
            for head in range(heads):
                i = (row * heads + head) * head_dim + pair
                a, b = x[i], x[i + 1]
                x[i] = a * cosine - b * sine
                x[i + 1] = a * sine + b * cosine
