from .. import checks
from .cache import KeyValueCache, Streaming
from .exact import MAX_KEYS
from .exact import constants as constants  # at the REPL: see cores


class Sliding(Streaming):
    # Softmax attention over one head to the last `window` tokens, the newest among them: step(q, k,
    # v, out), int8 [head_dim] each. Keys and values are kept in rings of `window` tokens, for ever.

    constants = ("score_mult", "score_shift", "score_limit", "out_num", "out_shift")
    options = needs = ("window",)
    tensors = {}

    def __init__(self, seq_len, head_dim, window, score_mult, score_shift, score_limit, out_num,
                 out_shift, causal=True, need_weights=False, buffers=None, output="int8"):
        checks.between("window", window, 1, MAX_KEYS)
        cache = KeyValueCache(window, head_dim, score_mult, score_shift, score_limit, out_num,
                              out_shift)
        super().__init__(seq_len, head_dim, causal, need_weights, cache, buffers, output)
        self.slot = 0  # of the next token
        self.filled = 0  # slots, from the first one on

    @staticmethod
    def room(seq_len, head_dim, window, **constants):
        return KeyValueCache.room(window, head_dim), 0

    def _put(self, k, v):
        self.cache.put(self.slot, k, v)
        self.filled = max(self.filled, self.slot + 1)
        self.slot += 1
        if self.slot == self.cache.slots:
            self.slot = 0

    def _attend(self, q, out):
        return self.cache.attend(q, out, self.filled)

    def reset(self):
        self.slot = self.filled = 0
