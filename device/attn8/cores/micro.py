from array import array

from .. import checks
from ..kernels import micro as kernels
from ..kernels.cache import copy
from . import key_mask, operands


class Micro:
    # The original ESP32 attention, kept exactly: scores shifted instead of scaled, 256 + x/2 in
    # place of exp, weights of 256, everything truncated. It takes no constants. For comparisons:
    # use `exact` where results matter.
    #
    # Its four steps are methods as well, each on one row: scores int32 [keys], changed in place.
    #
    # window: the original's sliding window, which sees the last `window` tokens alone, in rings of
    # keys and values, and shifts by 3 whatever head_dim. `weights` are then those of the last
    # query, by slot. output: "int32" gives the same results as int32, as the original does.
    #
    # A key_padding_mask of its call is as Exact's, and hides keys as the causal mask does; a query
    # that sees none takes the mean of all. With a window it is one of keys, which the rings never
    # hold.

    masks_keys = masks_pairs = True
    constants = ()
    options = ("window",)
    tensors = {}
    own_memory = True

    def __init__(self, seq_len, head_dim, causal=False, need_weights=False, buffers=None,
                 window=None, output="int8"):
        self.seq_len = checks.between("seq_len", seq_len, 1, 1 << 15)
        self.head_dim = checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
        self.causal = causal
        self.scale_shift = 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1
        self.keep = 1 if need_weights else 0
        self._code = "b"
        if output != "int8":
            checks.refuse("output", output)
            self._code = "i"
        if buffers is None:
            buffers = array("i", bytes(4 * head_dim))
        self.buffers = checks.values("buffers", buffers, head_dim, True, "i")
        self.window = window
        if window is None:
            self.weights = array("i", bytes(4 * seq_len * (seq_len if need_weights else 1)))
        else:
            checks.between("window", window, 1, 1 << 15)
            if not causal:
                raise ValueError("causal: expected True with a window, got False")
            self.scale_shift = 3
            self.weights = array("i", bytes(4 * window))
            self._keys = bytearray(window * head_dim)
            self._values = bytearray(window * head_dim)
        self.outputs = [("weights", "i", self.weights)] if need_weights else []

    @staticmethod
    def room(seq_len, head_dim, need_weights=False, window=None, **constants):
        if window is not None:
            return window * (2 * head_dim + 4), 4 * head_dim
        return 4 * seq_len * (seq_len if need_weights else 1), 4 * head_dim

    @classmethod
    def new(cls, embed_dim, num_heads):
        # As the original is made: for its steps on one head
        checks.between("embed_dim", embed_dim, 1, 1 << 15)
        checks.between("num_heads", num_heads, 1, embed_dim)
        return cls(1, embed_dim // num_heads)

    def compute_scores(self, query, keys, scores):
        # query int8 [head_dim], keys int8 [len(scores), head_dim]
        checks.values("query", query, self.head_dim)
        checks.values("scores", scores, None, True, "i")
        checks.values("keys", keys, len(scores) * self.head_dim)
        kernels.compute_scores(keys, 0, query, scores, 0, len(scores), 0, self.head_dim,
                               self.scale_shift)
        return scores

    def apply_causal_mask(self, scores, current_pos):
        checks.values("scores", scores, None, True, "i")
        checks.between("current_pos", current_pos, 0, 1 << 15)  # from the last on it hides none
        kernels.apply_causal_mask(scores, 0, len(scores), current_pos)
        return scores

    def softmax_fixed(self, scores):
        checks.values("scores", scores, None, True, "i")
        checks.between("scores", len(scores), 0, 1 << 15)
        if len(scores):
            kernels.softmax_fixed(scores, 0, 0, len(scores))
        return scores

    def weighted_sum(self, weights, values, output):
        # values int8 [len(weights), head_dim], output int32 [head_dim]
        checks.values("weights", weights, code="i")
        checks.values("values", values, len(weights) * self.head_dim)
        checks.values("output", output, self.head_dim, True, "i")
        checks.apart("output", output, 4 * self.head_dim, "weights", weights, 4 * len(weights))
        kernels.weighted_sum(values, 0, weights, output, 0, len(weights), self.head_dim)
        return output

    def __call__(self, q, k, v, out, key_padding_mask=None):
        n = self.seq_len
        size = n * self.head_dim
        operands(q, k, v, out, size, size, self._code)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, n, n * n, out,
                        size * (1 if self._code == "b" else 4))
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        n = self.seq_len
        d = self.head_dim
        if self.window is not None:
            if key_padding_mask is not None:
                checks.values("key_padding_mask", key_padding_mask, n)
            return self._slide(q, k, v, out, key_padding_mask)
        for t in range(n):
            row = t * self.keep
            kernels.compute_scores(k, 0, q, self.weights, row, n, t, d, self.scale_shift)
            if self.causal:
                kernels.apply_causal_mask(self.weights, row, n, t)
            if key_padding_mask is not None:
                kernels.apply_padding_mask(self.weights, row, n, key_padding_mask, at)
                if len(key_padding_mask) != n:
                    at += n
            kernels.softmax_fixed(self.weights, 0, row, n)
            kernels.weighted_sum(v, 0, self.weights, self.buffers, row, n, d)
            self._put(out, t)
        return out

    def _put(self, out, t):
        d = self.head_dim
        if self._code == "b":
            kernels.narrow(self.buffers, out, t, d)
        else:
            copy(self.buffers, 0, out, 4 * t * d, 4 * d)

    def _slide(self, q, k, v, out, key_padding_mask):
        d = self.head_dim
        slot = count = 0
        for t in range(self.seq_len):
            if key_padding_mask is None or not key_padding_mask[t]:
                copy(k, t * d, self._keys, slot * d, d)
                copy(v, t * d, self._values, slot * d, d)
                count = max(count, slot + 1)
                slot = 0 if slot + 1 == self.window else slot + 1
            kernels.compute_scores(self._keys, 0, q, self.weights, 0, count, t, d, 3)
            kernels.softmax_fixed(self.weights, 0, 0, count)
            kernels.weighted_sum(self._values, 0, self.weights, self.buffers, 0, count, d)
            self._put(out, t)
        return out


def constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options):
    return options
