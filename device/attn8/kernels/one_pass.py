# What a mask hides, as the kernels of flash take it: a byte for each key, not 0 where it is hidden.
import micropython


@micropython.viper
def show(hidden: ptr8, pair: ptr16, counts: ptr16, tiles: ptr8, row: int, keys: int, size: int):
    # hidden[row] of a block of rows: 0 for the listed keys, 1 for all others. tiles[key // size]
    # is 1 where a row up to this one of the block has it listed.
    if row == 0:
        n = (keys + size - 1) // size
        while n:
            n -= 1
            tiles[n] = 0
    hidden = ptr8(int(hidden) + row * keys)
    n = 0
    while n < keys:
        hidden[n] = 1
        n += 1
    n = counts[0]
    while n:
        key = pair[0]
        hidden[key] = 0
        tiles[key // size] = 1
        pair = ptr16(int(pair) + 4)
        n -= 1


@micropython.viper
def pick(hidden: ptr8, mask: ptr8, at: int, indices: ptr16, count: int):
    # hidden[j] = mask[at + indices[j]]
    mask = ptr8(int(mask) + at)
    j = 0
    while j < count:
        hidden[j] = mask[indices[j]]
        j += 1
