# Rows of a table.
import micropython


@micropython.viper
def beyond(ids: ptr16, n: int, rows: int) -> int:
    # How many of n ids come before the first that is negative, or `rows` or more
    i = 0
    while i < n:
        if ids[i] >= rows:
            return i
        i += 1
    return n


@micropython.viper
def embedding(ids: ptr16, table: ptr8, out: ptr8, n: int, size: int):
    # out[i] = table[ids[i]], `size` bytes each; all ids are rows of the table
    while n:
        row = ptr8(int(table) + ids[0] * size)
        i = 0
        while i < size:
            out[i] = row[i]
            i += 1
        ids = ptr16(int(ids) + 2)
        out = ptr8(int(out) + size)
        n -= 1
