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


@micropython.viper
def tied(ids: ptr16, acc: int, table: ptr8, mult: ptr16, shift: ptr8, out: ptr8, n: int, size: int,
         most: int, paired: int):
    # out[i] = requant(table[ids[i]] << 9; mult[ids[i]], shift[ids[i]]) within +-most, int8 rows of
    # `size` values, or in pairs where `paired` is 1 (see forms/viper/matmul16.py), to int8 or,
    # where most is above 127, int16
    while n:
        acc = ids[0]
        flip = 128
        if paired:
            flip = (acc & 1) << 7
            row = ptr8(int(table) + (acc - (acc & 1)) * size + (acc & 1))
        else:
            row = ptr8(int(table) + acc * size)
        m = mult[ids[0]]
        s = shift[ids[0]] - 16
        i = 0
        while i < size:
            acc = ((row[0] ^ flip) - 128) << 9
            row = ptr8(int(row) + 1 + paired)
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            if most < 128:
                out[i] = acc
            else:
                ptr16(out)[i] = acc
            i += 1
        ids = ptr16(int(ids) + 2)
        if most < 128:
            out = ptr8(int(out) + size)
        else:
            out = ptr8(int(out) + (size << 1))
        n -= 1
