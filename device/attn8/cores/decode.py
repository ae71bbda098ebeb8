from .. import checks
from .cache import KeyValueCache, Streaming
from .exact import MAX_KEYS
from .exact import constants as constants  # at the REPL: see cores


class Decode(Streaming):
    # Causal softmax attention over one head, one token at a time: step(q, k, v, out), int8
    # [head_dim] each, attends to all tokens since `reset`, of which the cache holds cache_len. Row
    # by row the same as exact attention with causal set.

    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = needs = ("cache_len",)
    tensors = {}

    def __init__(self, seq_len, head_dim, cache_len, score_mult, score_shift, score_limit, out_num,
                 out_shift, causal=True, need_weights=False, buffers=None, output="int8"):
        checks.between("seq_len", seq_len, 1, 1 << 15)
        checks.between("cache_len", cache_len, 1, MAX_KEYS)
        cache = KeyValueCache(cache_len, head_dim, score_mult, score_shift, score_limit, out_num,
                              out_shift)
        if seq_len > cache_len:
            raise ValueError("cache_len: expected seq_len %d or more, got %d"
                             % (seq_len, cache_len))
        super().__init__(seq_len, head_dim, causal, need_weights, cache, buffers, output)
        self.length = 0  # tokens in the cache

    @staticmethod
    def room(seq_len, head_dim, cache_len, **constants):
        return KeyValueCache.room(cache_len, head_dim), 0

    def _put(self, k, v):
        if self.length == self.cache.slots:
            raise ValueError("decode: the cache holds %d tokens and is full; reset or roll back"
                             % self.length)
        self.cache.put(self.length, k, v)
        self.length += 1

    def _attend(self, q, out):
        return self.cache.attend(q, out, self.length)

    def rollback(self, tokens):
        # Forgets the last tokens, for one those of a draft that was not accepted
        checks.between("rollback", tokens, 0, self.length)
        self.length -= tokens

    def reset(self):
        self.length = 0
