from array import array

from .. import checks, forms, tables
from ..forms.viper import attention
from ..kernels import local_global as kernels
from . import key_mask, operands
from .exact import MAX_KEYS, check


class LocalGlobal:
    # Each token attends to `window` tokens on each side and, in a softmax of its own, to the tokens
    # global_indices: out = gate*local + (1 - gate)*distant, O(seq_len*(window + indices)). gate is
    # uint16 [head_dim] in Q15, the sigmoid of what was learnt. Without indices distant is 0.
    # Each softmax takes the one pass of flash where it is of more than 516 keys.
    # The constants are those of `exact`, the output's with 5 more bits: see
    # attn8_host.quantize.local_global_constants.
    #
    # A key_padding_mask of its call is as Exact's.
    # need_weights keeps the local softmax numerators [seq_len, width], of which one pass has none,
    # and both softmaxes' sums.

    masks_keys = masks_pairs = True
    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = ("block_rows", "global_indices", "window")
    needs = ("window", "global_indices")
    tensors = {"gate": ("H", (0,))}

    def __init__(self, seq_len, head_dim, gate, window, global_indices, score_mult, score_shift,
                 score_limit, out_num, out_shift, causal=False, need_weights=False, block_rows=8,
                 buffers=None):
        checks.between("seq_len", seq_len, 1, 1 << 15)
        checks.between("window", window, 0, 1 << 15)
        width = min(seq_len, window + 1 if causal else 2 * window + 1)
        check(min(width, MAX_KEYS), head_dim, score_mult, score_shift, score_limit, out_num,
              out_shift)
        checks.values("gate", gate, head_dim, False, "H")
        checks.between("gate", max(gate), 0, 32768)
        checks.between("block_rows", block_rows, 1, 1 << 15)
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.gate = gate
        self.causal = causal
        self.score = score_mult, score_shift, score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        self._window = window
        self.block_rows = seq_len if need_weights else min(block_rows, seq_len)
        self.buffers = forms.buffers(buffers, attention, seq_len, head_dim)
        self._keep = need_weights
        self._local = Part(self, width)
        self._global = Part(self, 0)
        self.update_global_indices(global_indices)
        self.outputs = []
        if need_weights:
            if self._local.ranged is None:
                self.outputs.append(("local_weights", "H", self._local.weights))
            self.outputs += [("local_sums", "i", self._local.sums),
                             ("global_sums", "i", self._global.sums)]

    @staticmethod
    def room(seq_len, head_dim, window, global_indices, causal=False, need_weights=False,
             block_rows=8, **constants):
        rows = seq_len if need_weights else min(block_rows, seq_len)
        distant = len(global_indices)
        width = min(seq_len, window + 1 if causal else 2 * window + 1)
        width = sum([n for n in (width, distant) if n <= MAX_KEYS])
        some = sum(attention.room(distant, head_dim)) + rows * (6 * width + 4 * head_dim + 16)
        whole = sum(attention.room(seq_len, head_dim))
        return (some, whole) if need_weights else (0, some + whole)

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, gate=0.0,
                    window=None, global_indices=None, **options):
        # As Exact.from_scales. gate: what the sigmoid is taken of, one number or head_dim. What is
        # not said of window and global_indices is refused by name
        made = constants(head_dim, scale_q, scale_k, scale_v, scale_out, gate, **options)
        return cls(seq_len, head_dim, window=window, global_indices=global_indices, **made)

    @staticmethod
    def _own(code, size, name):
        return array(code, bytes(size))

    def update_global_indices(self, indices):
        # The positions of the tokens that every token sees (causal: every later one). Allocates.
        if not checks.typecode(indices):
            checks.kind("global_indices", indices, (list, tuple, set, range))
        for index in indices:
            checks.between("global_indices", index, 0, self.seq_len - 1)
        indices = sorted(set(indices))
        self.global_indices = array("H", indices)
        self._distant = [self.buffers.array("b", size, "distant %d" % i) for i, size in
                         enumerate(attention.room(len(indices), self.head_dim))]
        self._global.resize(self, len(indices))

    def __call__(self, q, k, v, out, key_padding_mask=None):
        n = self.seq_len
        size = n * self.head_dim
        operands(q, k, v, out, size, size)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, n, n * n, out, size)
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        n = self.seq_len
        self._mask = key_padding_mask
        self._at = at
        d = self.head_dim
        keys, sums, values, _ = self.buffers.parts
        some_keys, some_sums, some_values, _ = self._distant
        attention.pack_keys(k, keys, sums, n, d)
        attention.pack_values(v, values, n, d)
        kernels.gather(keys, sums, values, self.global_indices, some_keys, some_sums, some_values,
                       len(self.global_indices), n, d)
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            kernels.ranges(self._local.ranges, self._global.ranges, self.global_indices,
                           len(self.global_indices), first, rows, n, self._window,
                           0 if self.causal else self._window, 1 if self.causal else 0)
            self._attend(self._local, self.buffers.parts, n, q, first, rows)
            self._attend(self._global, self._distant, len(self.global_indices), q, first, rows)
            kernels.blend(self._local.out, 0, self._global.out, self.gate, out, first, rows, d)
            first += rows
        return out

    def _attend(self, part, buffers, count, q, first, rows):
        d = self.head_dim
        keys, sums, values, row = buffers
        width = part.width
        step = 0
        if self._mask is not None and len(self._mask) != self.seq_len:
            step = self.seq_len
        if part.ranged:
            part.ranged.attend(part, buffers, count, q, first, rows, self._mask, self._at, step,
                               self.global_indices if part is self._global else None)
            return
        mult, shift, limit = self.score
        kernels.scores(keys, 0, q, sums, part.ranges, part.scores, row, first, rows, width, d)
        if self._mask is not None:
            kernels.hide(part.scores, self._mask, self._at, step, part.ranges,
                         self.global_indices, part is self._global, first, rows, width)
        kernels.softmax(part.scores, 0, part.ranges, part.weights, part.sums, tables.EXP2, rows,
                        width, mult, shift, limit)
        kernels.weighted_sum(values, 0, part.weights, part.sums, part.ranges, part.out, rows,
                             count, width, d, self.out_num, self.out_shift)


class Part:
    # One of the two softmaxes, over a block of rows: the keys that each sees, and room

    def __init__(self, core, width):
        self._use = use = "local" if width else "global"
        room = core.buffers.array
        rows = core.block_rows
        self.ranges = room("H", 4 * rows, use + " ranges")
        self.sums = (core._own if core._keep else room)("i", 4 * rows, use)
        self.out = room("h", 2 * rows * core.head_dim, use)
        self.resize(core, width)

    def resize(self, core, width):
        self.width = width
        self.ranged = None
        if width > MAX_KEYS:
            from .one_pass import Ranges

            self.ranges = array("H", bytes(4 * core.block_rows))
            self.ranged = Ranges(core, kernels.scores, core.buffers.array, width, self._use)
            return
        room = core._own if core._keep else core.buffers.array
        self.scores = room("i", 4 * core.block_rows * width, self._use + " scores")
        self.weights = room("H", 2 * core.block_rows * width, self._use)


def constants(*scales, **options):
    from ..quantize import local_global_constants

    return local_global_constants(*scales, **options)
