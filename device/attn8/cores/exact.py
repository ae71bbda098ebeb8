from array import array

from .. import checks, forms, tables
from . import key_mask, operands

MAX_KEYS = checks.MAX_KEYS


class Exact:
    # Two-pass softmax attention over one head. int8 q, out [seq_len, head_dim], k, v [key_len,
    # head_dim]: out = softmax(q @ k.T * scale) @ v, causal where asked for. key_len is seq_len
    # unless the keys come from another sequence (cross-attention); v and out may be of another
    # width, value_dim. The integer constants come from
    # the host (attn8_host.quantize) or, at a REPL, from `from_scales`.
    #
    # precise: a second pass gives rows that few keys dominate up to 8 more bits.
    # Rows are computed in blocks: scores and softmax numerators need room for block_rows rows, for
    # fewer where an arena has no more, but where a form attends to a head in one call. need_weights
    # keeps all rows, in `scores` (int32) and `weights` (uint16, unnormalized Q15; `sums` holds each
    # row's sum). buffers: those of another core of the same shape, to share.
    # hide(scores, first, rows) masks more of a block's scores (see sparse).

    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = ("block_rows", "precise")
    tensors = {}
    masks_keys = masks_pairs = True  # its call takes a key_padding_mask, also of pairs
    value_widths = True

    def __init__(self, seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift,
                 causal=False, need_weights=False, block_rows=9, buffers=None, key_len=None,
                 precise=False, hide=None, value_dim=None):
        key_len = seq_len if key_len is None else key_len
        checks.between("seq_len", seq_len, 1, MAX_KEYS)
        check(key_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift)
        if causal and key_len != seq_len:
            raise ValueError("causal: expected key_len %d as seq_len, got %d" % (seq_len, key_len))
        self.seq_len = seq_len
        self.key_len = key_len
        self.head_dim = head_dim
        self.value_dim = value_dim = head_dim if value_dim is None else value_dim
        checks.between("value_dim", value_dim, 1, checks.MAX_INPUTS)
        wide = max(head_dim, value_dim)
        self.causal = 1 if causal else 0
        self.precise = checks.kind("precise", precise, bool)
        self._hide = hide
        self._hide_pairs = None  # imported where it is asked for
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.score_limit = score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        checks.between("block_rows", block_rows, 1, MAX_KEYS)
        self.block_rows = rows = seq_len if need_weights else min(block_rows, seq_len)
        self._kernels = kernels = forms.choose("refine" if precise else "attention", key_len, wide)
        if type(buffers) is memoryview and not need_weights:
            most = len(buffers) - sum(kernels.room(key_len, wide)) - 64
            while rows > 3 and 6 * rows * key_len > most:
                rows -= 1
            rows -= rows % 3 if rows < self.block_rows else 0
            self.block_rows = rows
        self.buffers = forms.buffers(buffers, self._kernels, key_len, wide)
        self.outputs = []
        self._attends = hide is None and _attends(kernels, need_weights, out_shift)
        if self._attends:
            forms.scratch.claim(kernels.attend_room(key_len, head_dim))
            return
        room = _own if need_weights or type(self.buffers) is not forms.Buffers else (
            self.buffers.array)
        self.scores = room("i", 4 * rows * key_len)
        self.weights = room("H", 2 * rows * key_len)
        self.sums = array("i", bytes(4 * rows))
        self.outputs = [("scores", "i", self.scores), ("weights", "H", self.weights),
                        ("sums", "i", self.sums)] if need_weights else []
        if precise:
            self.fine_weights = array("i", bytes(4 * rows * key_len))
            self.fine_sums = array("i", bytes(4 * rows))
            if need_weights:
                self.outputs += [("fine_weights", "i", self.fine_weights),
                                 ("fine_sums", "i", self.fine_sums)]

    @staticmethod
    def room(seq_len, head_dim, need_weights=False, block_rows=9, key_len=None, precise=False,
             value_dim=None, hide=None, out_shift=45, **constants):
        keys = key_len or seq_len
        wide = max(head_dim, value_dim or head_dim)
        rows = seq_len if need_weights else min(block_rows, seq_len)
        form = forms.choose("refine" if precise else "attention", keys, wide)
        each = 10 if precise else 6
        if hide is None and _attends(form, need_weights, out_shift):
            each = 0
        return rows * keys * each, sum(form.room(keys, wide))

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # A value x stands for x * its scale. Computed in the board's floats: for experiments.
        return cls(seq_len, head_dim,
                   **constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options))

    def __call__(self, q, k, v, out, key_padding_mask=None):
        # key_padding_mask: key_len bytes, not 0 where a key is padding that no query may see; or
        # seq_len * key_len, where that query may not see that key. A query that sees no key at all
        # gets zeros
        m = self.key_len
        n = self.seq_len
        d = self.head_dim
        size = n * self.value_dim
        if d == self.value_dim:
            operands(q, k, v, out, size, m * d)
        else:  # v and out are of another width
            checks.values("out", out, size, True)
            for what, x, length in (("q", q, n * d), ("k", k, m * d), ("v", v, m * self.value_dim)):
                checks.values(what, x, length)
                checks.apart("out", out, size, what, x, length)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, m, n * m, out, size)
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        # at: where this head's pairs are in the mask
        n = self.seq_len
        m = self.key_len
        d = self.head_dim
        width = self.value_dim
        keys, key_sums, values, row = self.buffers.parts
        kernel = self._kernels
        kernel.pack_keys(k, keys, key_sums, m, d)
        kernel.pack_values(v, values, m, width)
        pairs = key_padding_mask is not None and len(key_padding_mask) != m
        if self._attends:
            mask, masks = q, 0  # the latter: none, keys for all rows, or for each row
            if key_padding_mask is not None:
                mask, masks = key_padding_mask, 1 + pairs
            kernel.attend(keys, 0, q, values, out, forms.scratch.bytes, tables.EXP2, mask, at,
                          masks, n, m, d, width, self.causal, self.score_mult, self.score_shift,
                          self.score_limit, self.out_num, self.out_shift)
            return out
        if pairs:
            hide_pairs = self._hiding()
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            kernel.scores(keys, 0, q, key_sums, self.scores, row, first, rows, m, d, self.causal)
            if pairs:
                hide_pairs(self.scores, key_padding_mask, at + first * m, rows, m)
            elif key_padding_mask is not None:
                kernel.mask_keys(self.scores, key_padding_mask, rows, m)
            if self._hide:
                self._hide(self.scores, first, rows)
            kernel.softmax(self.scores, 0, self.weights, self.sums, tables.EXP2, first, rows, m,
                           self.causal, self.score_mult, self.score_shift, self.score_limit)
            if self.precise:
                kernel.refine(self.scores, 0, self.sums, self.fine_weights, self.fine_sums,
                              tables.EXP2, first, rows, m, self.causal, self.score_mult,
                              self.score_shift, self.score_limit)
                kernel.fine_weighted_sum(values, 0, self.fine_weights, self.fine_sums, out, first,
                                         rows, m, width, self.out_num, self.out_shift)
            else:
                kernel.weighted_sum(values, 0, self.weights, self.sums, out, first, rows, m, m,
                                    width, self.out_num, self.out_shift)
            first += rows
        return out

    def _hiding(self):
        if not self._hide_pairs:
            from ..kernels.hide import hide_pairs

            self._hide_pairs = hide_pairs
        return self._hide_pairs


def _attends(kernels, need_weights, out_shift):
    # Whether the kernels have one for all of a head that is right for this shift
    return not need_weights and hasattr(kernels, "attends") and kernels.attends(out_shift)


def _own(code, size):
    return array(code, bytes(size))


def check(key_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift):
    # The ranges within which every intermediate of the kernels stays in int32
    checks.between("key_len", key_len, 1, MAX_KEYS)
    checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    checks.between("score_mult", score_mult, 1, (1 << 30) - 1)
    checks.between("score_shift", score_shift, 1, 28)
    half = 1 << (score_shift - 1)
    most = min((1 << 31) - 1, (32 << (score_shift + 8)) - 1) - half
    checks.between("score_limit", score_limit, 0, min(1 << 28, most // score_mult))
    checks.between("out_num", out_num, 1 << 29, (1 << 30) - 1)
    checks.between("out_shift", out_shift, 16, 45)


def constants(*scales, **options):
    from ..quantize import exact_constants

    return exact_constants(*scales, **options)
