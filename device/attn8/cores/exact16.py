from array import array

from .. import checks, forms, tables
from ..kernels import exact16 as kernels
from ..kernels.hide import hide_pairs
from . import key_mask
from .exact import MAX_KEYS, _own


class Exact16:
    # Two-pass softmax attention over one head, as Exact, in int16: q and k within `most`, so that
    # scores stay below 2**29. need_weights keeps all rows, in `scores` (int32), `weights` (uint16,
    # about 32256 in all) and `sums` (int32, of each row).

    format = "int16"
    masks_keys = masks_pairs = True  # its call takes a key_padding_mask, also of pairs
    constants = ("score_mult", "score_shift", "out_num", "out_shift")
    options = ("block_rows",)
    tensors = {}

    def __init__(self, seq_len, head_dim, score_mult, score_shift, out_num, out_shift,
                 causal=False, need_weights=False, block_rows=9, buffers=None, key_len=None):
        key_len = seq_len if key_len is None else key_len
        checks.between("seq_len", seq_len, 1, MAX_KEYS)
        checks.between("key_len", key_len, 1, MAX_KEYS)
        checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
        checks.multiplier("score", score_mult, score_shift)
        checks.between("out_num", out_num, 1 << 29, (1 << 30) - 1)
        checks.between("out_shift", out_shift, 16, 45)
        checks.between("block_rows", block_rows, 1, MAX_KEYS)
        if causal and key_len != seq_len:
            raise ValueError("causal: expected key_len %d as seq_len, got %d" % (seq_len, key_len))
        self.seq_len = seq_len
        self.key_len = key_len
        self.head_dim = head_dim
        self.causal = 1 if causal else 0
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.out_num = out_num
        self.out_shift = out_shift
        self.block_rows = rows = seq_len if need_weights else min(block_rows, seq_len)
        self.buffers = forms.buffers(buffers, kernels, key_len, head_dim)
        room = _own if need_weights else self.buffers.array
        self.scores = room("i", 4 * rows * key_len)
        self.weights = room("H", 2 * rows * key_len)
        self.sums = array("i", bytes(4 * rows))
        self.outputs = [("scores", "i", self.scores), ("weights", "H", self.weights),
                        ("sums", "i", self.sums)] if need_weights else []

    @staticmethod
    def room(seq_len, head_dim, need_weights=False, block_rows=9, key_len=None, **constants):
        keys = key_len or seq_len
        rows = seq_len if need_weights else min(block_rows, seq_len)
        return rows * keys * 6, sum(kernels.room(keys, head_dim))

    @staticmethod
    def most(head_dim):
        # The largest magnitude of q and k
        n = 0
        bit = 1 << 14
        while bit:
            if (n + bit) * (n + bit) * head_dim < 1 << 29:
                n += bit
            bit >>= 1
        return n

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # As Exact.from_scales, a value an int16
        from ..quantize import exact16_constants

        return cls(seq_len, head_dim,
                   **exact16_constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options))

    def __call__(self, q, k, v, out, key_padding_mask=None):
        # int16 q, out [seq_len, head_dim], k, v [key_len, head_dim]; key_padding_mask as Exact's
        m = self.key_len
        n, size = self.seq_len * self.head_dim, m * self.head_dim
        most = self.most(self.head_dim)
        for name, x, length in (("q", q, n), ("k", k, size), ("v", v, size), ("out", out, n)):
            checks.values(name, x, length, name == "out", "h")
            if name != "out":
                checks.apart(name, x, 2 * length, "out", out, 2 * n)
        for name, x in (("q", q), ("k", k)):
            checks.between(name, min(x), -most, most)
            checks.between(name, max(x), -most, most)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, m, self.seq_len * m, out, 2 * n)
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        n = self.seq_len
        m = self.key_len
        d = self.head_dim
        keys, key_sums, values, row = self.buffers.parts
        kernels.pack_keys16(k, keys, key_sums, m, d)
        kernels.pack_values16(v, values, m, d)
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            kernels.scores(keys, 0, q, key_sums, self.scores, row, first, rows, m, d, self.causal)
            if key_padding_mask is not None and len(key_padding_mask) != m:
                hide_pairs(self.scores, key_padding_mask, at + first * m, rows, m)
            elif key_padding_mask is not None:
                kernels.mask_keys(self.scores, key_padding_mask, rows, m)
            kernels.softmax(self.scores, 0, self.weights, self.sums, tables.EXP2, rows, m,
                            self.score_mult, self.score_shift)
            kernels.weighted_sum(values, 0, self.weights, self.sums, out, first, rows, m, m, d,
                                 self.out_num, self.out_shift)
            first += rows
        return out
