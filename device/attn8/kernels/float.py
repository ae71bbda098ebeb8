# The matrix product of qformat.py in floats, for arrays of type 'f'. Its steps count elements.
import micropython


@micropython.native
def matmul(a, acc, b, bias, out, plan):
    rows, inner, columns, a_row, a_inner, b_inner, b_column, bias_column = plan[:8]
    out_row, out_column, relu = plan[8], plan[9], plan[13]
    for r in range(rows):
        for j in range(columns):
            acc = bias[j * bias_column]
            x = r * a_row
            y = j * b_column
            for _ in range(inner):
                acc += a[x] * b[y]
                x += a_inner
                y += b_inner
            if relu and acc < 0.0:
                acc = 0.0
            out[r * out_row + j * out_column] = acc
