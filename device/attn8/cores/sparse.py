from array import array

from .. import checks, forms, memory
from ..kernels.hide import drop, hide
from . import key_mask, operands

MAX_LISTED = 2048  # pairs, 4 bytes each, that are listed once and for all


class Sparse:
    # Softmax attention over the pairs of query and key that a mask shows: to the bit what the exact
    # core gives under that mask, in time for these pairs alone. A query without keys gives zeros.
    # Where the mask shows a query more than 516 keys, what Sparse(...) returns is Flash, which
    # passes over tiles of which nothing is shown.
    # Where little is hidden the exact core itself, under the mask, is faster: it is then what
    # Sparse(...) returns, and otherwise Listed. mask: a Mask, its bits (Mask.to_bits) or its
    # description (masks.build).
    #
    # Rows are computed in blocks of block_rows; None: nine, or as many as have 2*seq_len pairs.
    # need_weights keeps all rows: see Listed. A key_padding_mask of its call, as Exact's, hides
    # more.

    masks_keys = masks_pairs = True
    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = ("block_rows", "mask")
    needs = ("mask",)
    tensors = {"mask": ("B", (None,))}

    def __new__(cls, seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift,
                mask, causal=False, need_weights=False, block_rows=None, buffers=None):
        # What makes masks is forgotten again, and the exact core where it is not needed
        from ..unload import Unload

        unload = Unload()
        from . import exact

        constants = (score_mult, score_shift, score_limit, out_num, out_shift)
        checks.between("seq_len", seq_len, 1, 1 << 12)  # as masks have it
        exact.check(min(seq_len, exact.MAX_KEYS), head_dim, *constants)
        every = seq_len * seq_len  # pairs, of which a cut's mask counts but the causal ones
        form = forms.choose("sparse", head_dim, score_mult, score_shift, out_shift)
        most = every
        if not need_weights and seq_len <= exact.MAX_KEYS:  # if it shows all it is the other core's
            most = min(every - 1, form.most_percent(head_dim) * every // 100)
        shown, pairs = _pairs(seq_len, mask, causal, most)
        if block_rows is None:  # enough pairs a block to make little of the calls of kernels
            block_rows = min(seq_len, exact.MAX_KEYS, max(9, 2 * every // (shown or 1)))
        checks.between("block_rows", block_rows, 1, exact.MAX_KEYS)
        unload.forget("masks")
        if pairs.longest > exact.MAX_KEYS:
            return _one_pass(form, pairs, head_dim, *constants, need_weights, buffers)
        if shown <= most:
            unload.forget("cores")
            return Listed(form, pairs, head_dim, *constants, need_weights, block_rows,
                          forms.suited(buffers, form))
        hidden = None
        if shown < every:
            hidden = Hidden(pairs, form, min(block_rows, seq_len))
        # Heads of other masks may take the other core, whose buffers are of another form
        buffers = forms.suited(buffers, forms.choose("attention", seq_len, head_dim))
        return exact.Exact(seq_len, head_dim, *constants, block_rows=block_rows, buffers=buffers,
                           hide=hidden)

    @staticmethod
    def room(seq_len, head_dim, score_mult=1, score_shift=25, out_shift=22, need_weights=False,
             **constants):
        # Without what the mask decides
        form = forms.choose("sparse", head_dim, score_mult, score_shift, out_shift)
        kept = 0
        if need_weights and not form.KEEPS:
            kept = sum(_viper().room(seq_len, head_dim))
        return kept, sum(form.room(seq_len, head_dim))

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, mask=None,
                    **options):
        # As Exact.from_scales. Without a mask it is refused by name
        return cls(seq_len, head_dim, mask=mask,
                   **constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options))


class Listed:
    # Attention over listed pairs, in one form. The pairs are listed at construction where they are
    # few, and otherwise block by block.
    # need_weights keeps all rows: `scores` (int32) of the pairs, row after row, `pairs` (uint16)
    # with the key and the weight of each, and `sums`. A form that keeps nothing runs after viper,
    # whose results it overwrites.

    def __init__(self, form, shown, head_dim, score_mult, score_shift, score_limit, out_num,
                 out_shift, need_weights, block_rows, buffers):
        self.seq_len = n = shown.seq_len
        self.head_dim = head_dim
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.score_limit = score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        if need_weights or not form.KEEPS and shown.before[n] <= MAX_LISTED:
            block_rows = n
        self.block_rows = rows = min(block_rows, n)
        self.buffers = forms.buffers(buffers, form, n, head_dim)
        self._passes = [self.buffers]
        if need_weights and not form.KEEPS:
            self._passes.insert(0, forms.Buffers(_viper(), n, head_dim))
        self.pairs = Pairs(shown, form, rows, need_weights)
        self.outputs = []
        if need_weights or form.KEEPS:
            memory.require("sparse", 4 * self.pairs.largest_block)
            self.scores = array("i", bytes(4 * self.pairs.largest_block))
            self.sums = array("i", bytes(4 * rows))
            self.largest = array("i", bytes(4 * rows))
        if need_weights:
            self.outputs = [("scores", "i", self.scores), ("pairs", "H", self.pairs.pairs),
                            ("sums", "i", self.sums)]

    def __call__(self, q, k, v, out, key_padding_mask=None):
        n = self.seq_len
        size = n * self.head_dim
        operands(q, k, v, out, size, size)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, n, n * n, out, size)
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        self.pairs.hide(key_padding_mask, at)
        if self.outputs and key_padding_mask is not None:
            for i in range(len(self.scores)):  # fewer are written
                self.scores[i] = 0
        for buffers in self._passes:
            buffers.form.attend(self, buffers.parts, q, k, v, out)
        return out


class Hidden:
    # Masks in the dense core's scores what a mask hides: the pairs that its complement shows

    def __init__(self, shown, form, rows):
        self._keys = shown.seq_len
        self._pairs = Pairs(shown, form, rows)

    def __call__(self, scores, first, rows):
        pairs, counts = self._pairs.listed(first, rows)
        hide(scores, pairs, counts, rows, self._keys)


class Shown:
    # What a mask shows, without what made it; `before` each row are so many pairs

    def __init__(self, mask):
        self.seq_len = n = mask.seq_len
        self.bits, self.spans = mask.bits, mask.spans
        self.offsets, self.stride = mask.offsets, mask.stride
        self.before = array("i", bytes(4 * n + 4))
        self.longest = 0  # row
        for i in range(n):
            count = mask.count(i)
            self.longest = max(self.longest, count)
            self.before[i + 1] = self.before[i] + count


class Pairs:
    # The pairs that a mask shows, as the kernels want them: listed at construction where they are
    # few or to be kept, and otherwise a block of rows at a time; so are those that a further mask
    # leaves (see `hide`).

    def __init__(self, shown, form, rows, keep=False):
        self._mask = shown
        self._keep = keep
        self._hidden = None
        self._whole_listed = False
        self._list = form.list_bits if shown.bits else form.list_spans
        self._rows = rows
        n = shown.seq_len
        at = shown.before
        starts = range(0, n, rows)
        self.largest_block = max([at[min(first + rows, n)] - at[first] for first in starts])
        once = keep or rows > 1 and at[n] <= MAX_LISTED
        size = at[n] if once else self.largest_block
        memory.require("sparse", 4 * size)
        self.pairs = array("H", bytes(4 * size))
        counts = array("H", bytes(2 * (n if once else rows)))
        self._whole = (self.pairs, counts)
        self._blocks = None
        if once:
            self._list_all()
            views = memoryview(self.pairs), memoryview(counts)
            self._blocks = [(views[0][2 * at[first] :], views[1][first:]) for first in starts]

    def hide(self, mask, at):
        # From now on `listed` leaves out pairs whose byte in the mask is not 0: [keys], or of pairs
        # from `at` on; None: no more. What was listed once and for all is listed again.
        self._hidden = mask
        self._at = at
        if mask is None and self._blocks and not self._whole_listed:
            self._list_all()

    def _list_all(self):
        self._list_rows(0, self._mask.seq_len)
        self._whole_listed = True

    def _list_rows(self, first, rows):
        m = self._mask
        pairs, counts = self._whole
        self._list(pairs, 0, m.bits or m.spans, counts, m.offsets, m.stride, first, rows)

    def listed(self, first, rows):
        # -> (pairs, counts) from row `first` on, where a block starts
        if self._hidden is None:
            if self._blocks:
                return self._blocks[first // self._rows]
            self._list_rows(first, rows)
            return self._whole
        self._whole_listed = False
        self._list_rows(first, rows)
        pairs, counts = self._whole
        n = self._mask.seq_len
        step = 0 if len(self._hidden) == n else n
        drop(pairs, counts, self._hidden, self._at + first * step, step, rows,
             len(pairs) >> 1 if self._keep else 0)
        return self._whole


def _pairs(seq_len, mask, causal, most):
    # -> how many pairs a mask shows, and which: those that it hides where there are more than
    # `most`
    from ..masks import build
    from ..masks.mask import Mask

    if isinstance(mask, (list, tuple)):
        mask = build(seq_len, *mask)
    elif not isinstance(mask, Mask):
        if not checks.typecode(mask):
            checks.refuse("kind", "mask", mask, Mask)
        mask = Mask.from_bits(seq_len, mask)
    if mask.seq_len != seq_len:
        raise ValueError("mask: expected one of seq_len %d, got %d" % (seq_len, mask.seq_len))
    if causal:
        from ..masks.patterns import causal as causal_mask

        mask = mask.intersection(causal_mask(seq_len))
    return mask.num_positions, Shown(mask if mask.num_positions <= most else mask.complement())


def _one_pass(form, shown, head_dim, score_mult, score_shift, score_limit, out_num, out_shift,
              need_weights, buffers):
    from ..forms.viper import attention
    from . import flash, one_pass

    mult, shift = one_pass.constants(score_mult, score_shift, head_dim)
    core = flash.Flash(shown.seq_len, head_dim, mult, shift, out_num, out_shift, False,
                       need_weights, buffers=forms.suited(buffers, attention))
    core.hide = one_pass.Hidden(Pairs(shown, form, 1), shown.seq_len, flash.ROWS, core.block_size)
    return core


def constants(*scales, **options):
    from ..quantize import exact_constants

    return exact_constants(*scales, **options)


def _viper():
    # What keeps scores and weights where they are asked for
    from ..forms.viper import sparse

    return sparse
