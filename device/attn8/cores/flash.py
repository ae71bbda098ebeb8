from array import array

from .. import checks, forms, tables
from ..forms.viper import attention as scoring
from ..kernels import flash as kernels
from . import key_mask, operands
from .exact import MAX_KEYS

ROWS = 8  # queries that share a tile of keys


class Flash:
    # Softmax attention over one head in one pass over tiles of block_size keys: int8 q, k, v, out
    # [seq_len, head_dim], room for scores of one tile. Weights refer to the octave of the largest
    # score so far (see kernels/flash.py), so that results do not depend on block_size. Of more than
    # 516 keys weights get coarser as they are summed.
    #
    # need_weights: `octaves` and `sums`, int32 [seq_len], are each row's last reference and sum.

    masks_keys = masks_pairs = True  # its call takes a key_padding_mask, as Exact's does
    constants = ("score_mult", "score_shift", "out_num", "out_shift")
    options = ("block_size",)
    tensors = {}

    def __init__(self, seq_len, head_dim, score_mult, score_shift, out_num, out_shift,
                 causal=False, need_weights=False, block_size=16, buffers=None):
        checks.between("seq_len", seq_len, 1, 1 << 15)
        checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
        checks.between("block_size", block_size, 1, MAX_KEYS)
        # Every score, which is at most 2**14 * head_dim, must stay in int32 as a logarithm
        checks.between("score_shift", score_shift, 8, 24)
        largest = ((1 << 31) - 1 - (1 << (score_shift - 1))) // (head_dim << 14)
        checks.between("score_mult", score_mult, 0, largest)
        checks.between("out_num", out_num, 1 << 29, (1 << 30) - 1)
        checks.between("out_shift", out_shift, 16, 45)
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.causal = 1 if causal else 0
        self.hide = None  # what hides pairs, as one_pass.Hidden
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.out_num = out_num
        self.out_shift = out_shift
        self.buffers = forms.buffers(buffers, scoring, seq_len, head_dim)
        self.block_size = size = min(block_size, seq_len)
        self._scores = array("i", bytes(4 * ROWS * size))
        self._weights = array("H", bytes(2 * size))
        self._totals = array("i", bytes(4 * ROWS * head_dim))
        self.octaves = array("i", bytes(4 * seq_len))
        self.sums = array("i", bytes(4 * seq_len))
        self.outputs = [("octaves", "i", self.octaves),
                        ("sums", "i", self.sums)] if need_weights else []
        keys, sums, _, _ = [memoryview(part) for part in self.buffers.parts]
        self._tiles = []  # (first key, keys, their packed values, their sums)
        for first in range(0, seq_len, size):
            n = min(size, seq_len - first)
            self._tiles.append((first, n, keys[first * head_dim : (first + n) * head_dim],
                                sums[4 * first : 4 * (first + n)]))

    @staticmethod
    def room(seq_len, head_dim, block_size=16, **constants):
        tile = min(block_size, seq_len) * (4 * ROWS + 2) + 4 * ROWS * head_dim
        return tile + 8 * seq_len, sum(scoring.room(seq_len, head_dim))

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # As Exact.from_scales
        return cls(seq_len, head_dim,
                   **constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options))

    def __call__(self, q, k, v, out, key_padding_mask=None):
        n = self.seq_len
        size = n * self.head_dim
        operands(q, k, v, out, size, size)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, n, n * n, out, size)
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        n = self.seq_len
        hide = self.hide
        step = 0
        if hide:
            key_padding_mask = hide.under(key_padding_mask, at)
            at = 0
            step = n
        elif key_padding_mask is None:
            key_padding_mask, at = out, -1  # any buffer: none of it is read
        elif len(key_padding_mask) != n:
            step = n
        d = self.head_dim
        all_keys, all_sums, values, row = self.buffers.parts
        scoring.pack_keys(k, all_keys, all_sums, n, d)
        scoring.pack_values(v, values, n, d)
        first = 0
        while first < n:
            rows = min(ROWS, n - first)
            if hide:
                hide(first, rows)
            kernels.clear(self.sums, self.octaves, self._totals, first, rows, d)
            for first_key, keys, packed, key_sums in self._tiles:
                if self.causal and first_key >= first + rows:
                    break
                if hide and not hide.tiles[first_key // self.block_size]:
                    continue
                scoring.scores(packed, 0, q, key_sums, self._scores, row, first, rows, keys, d, 0)
                kernels.update(values, 0, self._scores, self._weights, self.sums, self.octaves,
                               self._totals, tables.EXP2, first, rows, first_key, keys, n, d,
                               self.causal, self.score_mult, self.score_shift,
                               key_padding_mask, at, step)
            kernels.finish(self._totals, 0, self.sums, out, first, rows, d, self.out_num,
                           self.out_shift, 0)
            first += rows
            if step and not hide:
                at += rows * n
        return out


def constants(*scales, **options):
    from ..quantize import flash_constants

    return flash_constants(*scales, **options)
