from array import array

from .. import checks, tables
from ..kernels import attention as kernels

MAX_KEYS = 516  # 516 * 32768 * 127 is the largest sum of weighted values below 2**31


class Exact:
    # Two-pass softmax attention over one head. int8 q, k, v, out [seq_len, head_dim]:
    # out = softmax(q @ k.T * scale) @ v, causal where asked for. The integer constants come from
    # the host (attn8_host.quantize) or, at a REPL, from `from_scales`.
    #
    # Rows are computed in blocks: scores and softmax numerators need room for block_rows rows.
    # need_weights keeps all rows, in `scores` (int32) and `weights` (uint16, unnormalised Q15;
    # `sums` holds each row's sum). buffers: the same three from another core, to share.

    def __init__(self, seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift,
                 causal=False, need_weights=False, block_rows=8, buffers=None):
        check(seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift)
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.causal = 1 if causal else 0
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.score_limit = score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        checks.between("block_rows", block_rows, 1, MAX_KEYS)
        self.block_rows = seq_len if need_weights else min(block_rows, seq_len)
        self.buffers = buffers or Buffers(seq_len, head_dim)
        self.scores = array("i", bytes(4 * self.block_rows * seq_len))
        self.weights = array("H", bytes(2 * self.block_rows * seq_len))
        self.sums = array("i", bytes(4 * self.block_rows))
        self.outputs = [("scores", "i", self.scores), ("weights", "H", self.weights),
                        ("sums", "i", self.sums)] if need_weights else []

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # A value x stands for x * its scale. Computed in the board's floats: for experiments.
        from .. import quantize

        scores = quantize.score_constants(scale_q * scale_k / head_dim**0.5, head_dim)
        return cls(seq_len, head_dim, *scores, *quantize.output_constants(scale_v / scale_out),
                   **options)

    def __call__(self, q, k, v, out):
        n = self.seq_len
        d = self.head_dim
        checks.int8("q", q, n * d)
        checks.int8("k", k, n * d)
        checks.int8("v", v, n * d)
        checks.int8("out", checks.writable("out", out), n * d)
        b = self.buffers
        kernels.pack_keys(k, b.keys, b.key_sums, n, d)
        kernels.pack_values(v, b.values, n, d)
        first = 0
        while first < n:
            rows = min(self.block_rows, n - first)
            kernels.scores(b.keys, 0, q, b.key_sums, self.scores, b.row, first, rows, n, d,
                           self.causal)
            kernels.softmax(self.scores, 0, self.weights, self.sums, tables.EXP2, first, rows, n,
                            self.causal, self.score_mult, self.score_shift, self.score_limit)
            kernels.weighted_sum(b.values, 0, self.weights, self.sums, out, first, rows, n, d,
                                 self.out_num, self.out_shift)
            first += rows
        return out


class Buffers:
    # What the kernels pack their operands into; heads that run one after the other share one

    def __init__(self, seq_len, head_dim):
        self.keys = bytearray(seq_len * head_dim)
        self.key_sums = array("i", bytes(4 * seq_len))
        self.values = bytearray(seq_len * head_dim)
        self.row = bytearray(head_dim)


def check(seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift):
    # The ranges within which every intermediate of the kernels stays in int32
    checks.between("seq_len", seq_len, 1, MAX_KEYS)
    checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    checks.between("score_mult", score_mult, 1, (1 << 30) - 1)
    checks.between("score_shift", score_shift, 1, 28)
    half = 1 << (score_shift - 1)
    most = min((1 << 31) - 1, (32 << (score_shift + 8)) - 1) - half
    checks.between("score_limit", score_limit, 0, min((1 << 30) - 1, most // score_mult))
    checks.between("out_num", out_num, 1 << 29, (1 << 30) - 1)
    checks.between("out_shift", out_shift, 16, 45)
