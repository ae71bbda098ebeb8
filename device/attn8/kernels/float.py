# The matrix product of qformat.py in floats, for arrays of type 'f' or 'd'. Its steps count
# elements. acc, two elements of that type, holds the sum and each product: what is stored there is
# rounded to the type. So single precision is the same where a board's own floats are doubles: a
# sum or product of two singles, rounded to a double and then to a single, is the exact one rounded.
import micropython


@micropython.native
def matmul(a, acc, b, bias, out, plan):
    rows, inner, columns, a_row, a_inner, b_inner, b_column, bias_column = plan[:8]
    out_row, out_column, relu = plan[8], plan[9], plan[13]
    for r in range(rows):
        for j in range(columns):
            acc[0] = bias[j * bias_column]
            x = r * a_row
            y = j * b_column
            for _ in range(inner):
                acc[1] = a[x] * b[y]
                acc[0] += acc[1]
                x += a_inner
                y += b_inner
            if relu and acc[0] < 0.0:
                acc[0] = 0.0
            out[r * out_row + j * out_column] = acc[0]


@micropython.native
def scale(x, out, n, factor, _):
    # int8, in any form of bytes, into floats
    for i in range(n):
        value = x[i]
        if value >= 128:
            value -= 256
        out[i] = value * factor


@micropython.native
def mean(x, acc, out, rows, columns, _):
    # out[i] = sum_r x[r, i] / rows, one row added after the other
    for i in range(columns):
        acc[0] = 0.0
        at = i
        for _ in range(rows):
            acc[0] += x[at]
            at += columns
        out[i] = acc[0] / rows
