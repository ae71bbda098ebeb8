from array import array

from .. import checks, tables
from ..kernels import flash as kernels
from ..kernels import one_pass as hiding

# What the cores of two passes take where a row sees more than 516 keys: the one pass of flash,
# under their own constants.

TILE = 128  # keys that are taken at a time


def constants(score_mult, score_shift, head_dim):
    # Those of two passes, with as many bits less as one pass has
    mult = score_mult
    shift = score_shift
    while shift > 24 or shift > 8 and mult > _most(shift, head_dim):
        shift -= 1
        bits = score_shift - shift
        mult = (score_mult + (1 << bits >> 1)) >> bits
    checks.between("score_shift", shift, 8, 24)
    checks.between("score_mult", mult, 0, _most(shift, head_dim))
    return mult, shift


def _most(shift, head_dim):
    # Every score, which is at most 2**14 * head_dim, must stay in int32 as a logarithm
    return ((1 << 31) - 1 - (1 << (shift - 1))) // (head_dim << 14)


class Hidden:
    # Hides from flash what a mask does not show, a block of rows at a time: a byte for each pair,
    # and for each tile of keys whether any of these rows sees one of them. pairs: sparse.Pairs of
    # single rows.

    def __init__(self, pairs, seq_len, rows, size):
        self._pairs = pairs
        self._keys = seq_len
        self._size = size
        self._bytes = bytearray(rows * seq_len)
        self.tiles = bytearray((seq_len + size - 1) // size)

    def under(self, mask, at):
        # -> the bytes; from now on what a further mask hides is hidden as well, see Pairs.hide
        self._pairs.hide(mask, at)
        return self._bytes

    def __call__(self, first, rows):
        for r in range(rows):
            pairs, counts = self._pairs.listed(first + r, 1)
            hiding.show(self._bytes, pairs, counts, self.tiles, r, self._keys, self._size)


class Ranges:
    # A softmax of local_global over ranges of up to `width` keys, row by row

    def __init__(self, core, scores, room, width, use):
        d = core.head_dim
        self._head_dim = d
        self._score = constants(core.score[0], core.score[1], d)
        self._out = core.out_num, core.out_shift
        self._dot = scores
        self._scores = room("i", 4 * TILE, "tile")
        self._weights = room("H", 2 * TILE, "tile")
        self._totals = room("i", 4 * d, "totals")
        self._octaves = room("i", 4 * core.block_rows, "octaves")
        self._hidden = room("B", width, use + " hidden")
        self._range = array("H", bytes(4))

    def attend(self, part, buffers, count, q, first, rows, mask, at, step, indices):
        # The rows first.. of q to part.out. mask: of keys, or of pairs where step is not 0, or
        # None; indices: where the keys are in it, or None.
        d = self._head_dim
        keys, key_sums, values, row = buffers
        mult, shift = self._score
        hidden = q  # any buffer: none of it is read
        place = -1
        for r in range(rows):
            kernels.clear(part.sums, self._octaves, self._totals, r, 1, d)
            if mask is not None:
                place = at + (first + r) * step
                hidden = mask
                if indices is not None:
                    hidden = self._hidden
                    hiding.pick(hidden, mask, place, indices, count)
                    place = 0
            start = part.ranges[2 * r]
            end = start + part.ranges[2 * r + 1]
            while start < end:
                n = min(TILE, end - start)
                self._range[0] = start
                self._range[1] = n
                self._dot(keys, 0, q, key_sums, self._range, self._scores, row, first + r, 1, n, d)
                kernels.update(values, 0, self._scores, self._weights, part.sums, self._octaves,
                               self._totals, tables.EXP2, r, 1, start, n, count, d, 0, mult, shift,
                               hidden, place, 0)
                start += n
            kernels.finish(self._totals, 0, part.sums, part.out, r, 1, d, self._out[0],
                           self._out[1], 1)
