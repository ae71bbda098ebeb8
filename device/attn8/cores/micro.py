from array import array

from .. import checks
from ..kernels import micro as kernels


class Micro:
    # The original ESP32 attention, kept exactly: scores shifted instead of scaled, 256 + x/2 in
    # place of exp, weights of 256, everything truncated. It takes no constants. For comparisons:
    # use `exact` where results matter.
    #
    # Its four steps are methods as well, each on one row: scores int32 [keys], changed in place.

    constants = ()
    options = ()
    tensors = ()

    def __init__(self, seq_len, head_dim, causal=False, need_weights=False, buffers=None):
        self.seq_len = checks.between("seq_len", seq_len, 1, 1 << 15)
        self.head_dim = checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
        self.causal = causal
        self.scale_shift = 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1
        self.keep = 1 if need_weights else 0
        if buffers is None:
            buffers = array("i", bytes(4 * head_dim))
        self.buffers = checks.values("buffers", buffers, head_dim, True, "i")
        self.weights = array("i", bytes(4 * seq_len * (seq_len if need_weights else 1)))
        self.outputs = [("weights", "i", self.weights)] if need_weights else []

    @staticmethod
    def room(seq_len, head_dim, need_weights=False, **constants):
        return 4 * seq_len * (seq_len if need_weights else 1), 4 * head_dim

    def compute_scores(self, query, keys, scores):
        # query int8 [head_dim], keys int8 [len(scores), head_dim]
        checks.int8("query", query, self.head_dim)
        checks.values("scores", scores, None, True, "i")
        checks.int8("keys", keys, len(scores) * self.head_dim)
        kernels.compute_scores(keys, 0, query, scores, 0, len(scores), 0, self.head_dim,
                               self.scale_shift)
        return scores

    def apply_causal_mask(self, scores, current_pos):
        checks.values("scores", scores, None, True, "i")
        checks.between("current_pos", current_pos, 0, len(scores) - 1)
        kernels.apply_causal_mask(scores, 0, len(scores), current_pos)
        return scores

    def softmax_fixed(self, scores):
        checks.values("scores", scores, None, True, "i")
        checks.between("scores", len(scores), 1, 1 << 15)
        kernels.softmax_fixed(scores, 0, 0, len(scores))
        return scores

    def weighted_sum(self, weights, values, output):
        # values int8 [len(weights), head_dim], output int32 [head_dim]
        checks.values("weights", weights, code="i")
        checks.int8("values", values, len(weights) * self.head_dim)
        checks.values("output", output, self.head_dim, True, "i")
        checks.apart("output", output, 4 * self.head_dim, "weights", weights, 4 * len(weights))
        kernels.weighted_sum(values, 0, weights, output, 0, len(weights), self.head_dim)
        return output

    def __call__(self, q, k, v, out):
        size = self.seq_len * self.head_dim
        checks.operands(q, k, v, out, size, size)
        return self.run(q, k, v, out)

    def run(self, q, k, v, out):
        n = self.seq_len
        d = self.head_dim
        for t in range(n):
            row = t * self.keep
            kernels.compute_scores(k, 0, q, self.weights, row, n, t, d, self.scale_shift)
            if self.causal:
                kernels.apply_causal_mask(self.weights, row, n, t)
            kernels.softmax_fixed(self.weights, 0, row, n)
            kernels.weighted_sum(v, 0, self.weights, self.buffers, row, n, d)
            kernels.narrow(self.buffers, out, t, d)
        return out
