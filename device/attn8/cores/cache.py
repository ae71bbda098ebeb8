from array import array

from .. import checks, tables
from ..forms.viper import attention as kernels
from ..kernels.cache import copy, put
from . import key_mask, operands
from .exact import check, constants


class KeyValueCache:
    # Keys and values of up to `slots` past tokens of one head, and softmax attention to them. The
    # order of the slots does not matter: integer sums are exact. `scores` (int32) and `weights`
    # (uint16, unnormalized Q15, their sum in `sums`) are those of the last query, by slot. The
    # cores that own one have checked what they give it.

    def __init__(self, slots, head_dim, score_mult, score_shift, score_limit, out_num, out_shift):
        check(slots, head_dim, score_mult, score_shift, score_limit, out_num, out_shift)
        self.slots = slots
        self.head_dim = head_dim
        self.score_mult = score_mult
        self.score_shift = score_shift
        self.score_limit = score_limit
        self.out_num = out_num
        self.out_shift = out_shift
        self.keys = bytearray(slots * head_dim)
        self.key_sums = array("i", bytes(4 * slots))
        self.values = bytearray(slots * head_dim)
        self.scores = array("i", bytes(4 * slots))
        self.weights = array("H", bytes(2 * slots))
        self.sums = array("i", [0])
        self._row = bytearray(head_dim)
        self.wide = None  # what makes int32 of weights and values, where it is asked for

    @staticmethod
    def room(slots, head_dim):
        return slots * (2 * head_dim + 10) + 5 * head_dim

    def put(self, slot, k, v):
        put(k, v, self.keys, self.key_sums, self.values, slot, self.slots, self.head_dim)

    def attend(self, q, out, count):
        # To the first `count` slots
        d = self.head_dim
        kernels.scores(self.keys, 0, q, self.key_sums, self.scores, self._row, 0, 1, count, d, 0)
        kernels.softmax(self.scores, 0, self.weights, self.sums, tables.EXP2, 0, 1, count, 0,
                        self.score_mult, self.score_shift, self.score_limit)
        if self.wide:
            self.wide(self.values, 0, self.weights, self.sums, out, count, self.slots, d,
                      self.out_num, self.out_shift)
            return out
        kernels.weighted_sum(self.values, 0, self.weights, self.sums, out, 0, 1, count, self.slots,
                             d, self.out_num, self.out_shift)
        return out


class Streaming:
    # What the cores with a cache share: a whole sequence, int8 [seq_len, head_dim] each, is so many
    # steps from the start, after which `step` goes on. They add `reset`, `_put` and `_attend`.
    # output: with "int32" results are int32, and are not clamped. Keys that a key_padding_mask
    # [seq_len] hides never come into the cache.

    masks_keys = True
    own_memory = True  # which lie within no other memory

    def __init__(self, seq_len, head_dim, causal, need_weights, cache, buffers, output):
        checks.between("seq_len", seq_len, 1, 1 << 15)
        if not causal:
            raise ValueError("causal: expected True, got False")
        if buffers is not None:
            raise ValueError("buffers: expected None, as all that this core holds is its own")
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.cache = cache
        self.buffers = None
        self.outputs = [("scores", "i", cache.scores), ("weights", "H", cache.weights),
                        ("sums", "i", cache.sums)] if need_weights else []
        # One token of each operand, to which a sequence is copied in turn: views would allocate
        self._token = [array("b", bytes(head_dim)) for _ in range(4)]
        self._code = "b"
        if output != "int8":
            checks.refuse("output", output)
            from ..kernels.int32 import weighted_sum

            cache.wide = weighted_sum
            self._code = "i"
            self._token[3] = array("i", bytes(4 * head_dim))

    @classmethod
    def from_scales(cls, slots, head_dim, scale_q, scale_k, scale_v, scale_out, **options):
        # As Exact.from_scales; made for `step` alone
        return cls(1, head_dim, slots,
                   **constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options))

    def reset(self):
        raise NotImplementedError

    def _put(self, k, v):
        # Keeps the next token
        raise NotImplementedError

    def _attend(self, q, out):
        raise NotImplementedError

    def _step(self, q, k, v, out):
        self._put(k, v)
        return self._attend(q, out)

    def step(self, q, k, v, out):
        # The next token, int8 [head_dim] each; out may be one of the others
        d = self.head_dim
        checks.values("q", q, d)
        checks.values("k", k, d)
        checks.values("v", v, d)
        checks.values("out", out, d, True, self._code)
        return self._step(q, k, v, out)

    def __call__(self, q, k, v, out, key_padding_mask=None):
        size = self.seq_len * self.head_dim
        operands(q, k, v, out, size, size, self._code)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, self.seq_len, 0, out,
                        size * (1 if self._code == "b" else 4))
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        d = self.head_dim
        size = self.seq_len * d
        self.reset()
        one_q, one_k, one_v, one_out = self._token
        unit = 1 if self._code == "b" else 4
        start = t = 0
        while start < size:
            copy(q, start, one_q, 0, d)
            copy(k, start, one_k, 0, d)
            copy(v, start, one_v, 0, d)
            if key_padding_mask is None or not key_padding_mask[t]:
                self._put(one_k, one_v)
            self._attend(one_q, one_out)
            t += 1
            copy(one_out, 0, out, unit * start, unit * d)
            start += d
        return out
