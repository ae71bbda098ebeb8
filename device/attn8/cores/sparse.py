from array import array

from .. import checks, kernels, masks, memory, tables
from ..kernels import sparse
from ..masks.mask import Mask
from . import exact

MAX_LISTED = 2048  # pairs, 4 bytes each, that are listed once and for all


class Sparse:
    # Softmax attention over the pairs of query and key that a mask shows: to the bit what the exact
    # core gives under that mask, in time for these pairs alone. A query without keys gives zeros.
    # Where little is hidden the exact core itself, under the mask, is faster, and taken.
    # mask: a Mask, its bits (Mask.to_bits) or its description (masks.build).
    #
    # Rows are computed in blocks of block_rows; None: nine, or as many as have 2*seq_len pairs. The
    # pairs are listed at construction where they are few, and otherwise block by block.
    # need_weights keeps all rows: `scores` (int32) of the pairs, row after row, `pairs` (uint16)
    # with the key and the weight of each, and `sums`. Kernels that do all at once keep nothing:
    # then those that go step by step run as well.

    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = ("block_rows", "mask")
    tensors = ("mask",)

    def __init__(self, seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift,
                 mask, causal=False, need_weights=False, block_rows=None, buffers=None):
        checks.between("seq_len", seq_len, 1, exact.MAX_KEYS)
        exact.check(seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift)
        if isinstance(mask, (list, tuple)):
            mask = masks.build(seq_len, *mask)
        elif not isinstance(mask, Mask):
            mask = Mask.from_bits(seq_len, mask)
        if mask.seq_len != seq_len:
            raise ValueError("mask: expected one of seq_len %d, got %d" % (seq_len, mask.seq_len))
        if causal:
            mask = mask.intersection(masks.causal(seq_len))
        if block_rows is None:  # enough pairs a block to make little of the calls of kernels
            block_rows = min(seq_len, max(9, 2 * mask.max_positions // (mask.num_positions or 1)))
        checks.between("block_rows", block_rows, 1, exact.MAX_KEYS)
        if buffers is not None and type(buffers) not in (Buffers, exact.Buffers):
            checks.shared(buffers, Buffers)
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.mask = mask
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.score_limit = score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        self._kernels, fused, most = kernels.choose_sparse(
            seq_len, head_dim, score_mult, score_shift, out_shift)
        self.outputs = []
        self._dense = None
        if mask.num_positions * 100 > most * mask.max_positions and not need_weights:
            hide = None
            if mask.num_positions < mask.max_positions:
                hide = Hidden(mask, self._kernels, min(block_rows, seq_len))
            # Heads of other masks may use the other core, whose room is of another kind
            self._dense = exact.Exact(seq_len, head_dim, score_mult, score_shift, score_limit,
                                      out_num, out_shift, block_rows=block_rows,
                                      buffers=None if type(buffers) is Buffers else buffers,
                                      hide=hide)
            buffers = self._dense.buffers
            self.buffers = buffers
            return
        self._fused = fused is not None
        self._in_steps = need_weights or not fused
        if need_weights or fused and mask.num_positions <= MAX_LISTED:
            block_rows = seq_len
        self.block_rows = rows = min(block_rows, seq_len)
        if type(buffers) is not Buffers:
            buffers = None
        self.buffers = checks.shared(buffers, Buffers, seq_len, head_dim, fused, self._in_steps)
        self._pairs = Pairs(mask, self._kernels, rows, seq_len, need_weights)
        if self._in_steps:
            memory.require("sparse", 4 * self._pairs.largest_block)
            self.scores = array("i", bytes(4 * self._pairs.largest_block))
            self.sums = array("i", bytes(4 * rows))
            self._largest = array("i", bytes(4 * rows))
        if need_weights:
            self.outputs = [("scores", "i", self.scores), ("pairs", "H", self._pairs.pairs),
                            ("sums", "i", self.sums)]

    @staticmethod
    def room(seq_len, head_dim, need_weights=False, **constants):
        # Without what the mask decides
        fused = kernels.choose_sparse(seq_len, head_dim)[1]
        in_steps = 2 * seq_len * (head_dim + 2) + 32
        if fused:
            return 0, sum(fused) + (in_steps if need_weights else 0)
        return 0, in_steps

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # As Exact.from_scales
        return cls(seq_len, head_dim,
                   *exact.constants(head_dim, scale_q, scale_k, scale_v, scale_out), **options)

    def __call__(self, q, k, v, out):
        size = self.seq_len * self.head_dim
        checks.operands(q, k, v, out, size, size)
        return self.run(q, k, v, out)

    def run(self, q, k, v, out):
        if self._dense:
            return self._dense.run(q, k, v, out)
        if self._in_steps:
            self._attend_in_steps(q, k, v, out)
        if self._fused:  # with need_weights as well: these are the results that count
            self._attend_at_once(q, k, v, out)
        return out

    def _attend_in_steps(self, q, k, v, out):
        n = self.seq_len
        d = self.head_dim
        b = self.buffers
        sparse.pack_keys(k, 0, b.keys, b.key_sums, n, d)
        sparse.pack_values(v, b.values, n, d)
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            pairs, counts = self._pairs.listed(first, rows)
            sparse.scores(b.keys, 0, q, b.key_sums, pairs, counts, self.scores, self._largest,
                          first, rows, d)
            sparse.softmax(self.scores, 0, pairs, counts, self._largest, self.sums, tables.EXP2,
                           rows, self.score_mult, self.score_shift, self.score_limit)
            sparse.weighted_sum(b.values, 0, pairs, counts, self.sums, b.columns, out, first, rows,
                                d, self.out_num, self.out_shift)
            first += rows

    def _attend_at_once(self, q, k, v, out):
        n = self.seq_len
        d = self.head_dim
        b = self.buffers
        self._kernels.pack(k, 0, v, b.packed, n, d)
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            pairs, counts = self._pairs.listed(first, rows)
            self._kernels.attend(b.packed, 0, q, pairs, counts, b.room, tables.EXP2, out, first,
                                 rows, n, d, self.score_mult, self.score_shift, self.score_limit,
                                 self.out_num, self.out_shift)
            first += rows


class Buffers:
    # What the kernels pack their operands into; heads that run one after the other share one

    def __init__(self, seq_len, head_dim, fused, in_steps):
        # fused: the bytes of packed keys and values and of room of kernels that do all at once
        packed, room = fused or (0, 0)
        self.packed = bytearray(packed)
        self.room = bytearray(room)
        size = seq_len * head_dim if in_steps else 0
        self.keys = bytearray(size)
        self.key_sums = array("i", bytes(4 * seq_len if in_steps else 0))
        self.values = bytearray(size)
        self.columns = array("i", bytes(32))


class Hidden:
    # Masks in the dense core's scores what a mask hides

    def __init__(self, mask, kernel, rows):
        n = mask.seq_len
        self._keys = n
        self._pairs = Pairs(mask.complement(), kernel, rows, n - min(3, rows))

    def __call__(self, scores, first, rows):
        pairs, counts = self._pairs.listed(first, rows)
        sparse.hide(scores, pairs, counts, rows, self._keys)


class Pairs:
    # The pairs that a mask shows, as the kernels want them: listed at construction where they are
    # few or to be kept, and otherwise a block of rows at a time. No block starts after row `last`.

    def __init__(self, mask, kernel, rows, last, keep=False):
        self._mask = mask
        self._list = kernel.list_bits if mask.bits else kernel.list_spans
        self._rows = rows
        n = mask.seq_len
        at = [0]  # the pairs before each row
        for i in range(n):
            at.append(at[i] + mask.count(i))
        starts = [min(first, last) for first in range(0, n, rows)]
        self.largest_block = max([at[min(first + rows, n)] - at[first] for first in starts])
        once = keep or at[n] <= MAX_LISTED
        size = at[n] if once else self.largest_block
        memory.require("sparse", 4 * size)
        self.pairs = array("H", bytes(4 * size))
        counts = array("H", bytes(2 * (n if once else rows)))
        self._whole = (self.pairs, counts)
        self._blocks = None
        if once:
            self.listed(0, n)
            views = memoryview(self.pairs), memoryview(counts)
            self._blocks = [(views[0][2 * at[first] :], views[1][first:]) for first in starts]

    def listed(self, first, rows):
        # -> (pairs, counts) from row `first` on, for as many rows at least
        if self._blocks:
            return self._blocks[(first + self._rows - 1) // self._rows]
        m = self._mask
        pairs, counts = self._whole
        self._list(pairs, 0, m.bits or m.spans, counts, m.offsets, m.stride, first, rows)
        return self._whole
