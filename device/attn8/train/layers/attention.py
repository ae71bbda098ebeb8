from ... import checks
from .dense import Dense

TOKENWISE = True


class MultiHeadAttention:
    # Softmax attention [seq_len, embed_dim] -> [seq_len, embed_dim]:
    #   q, k, v = x @ w.T + b; A = softmax(q @ k.T / sqrt(key_dim)) per head;
    #   context = A @ v; out = context @ w_out.T + b_out
    # q and k are [.., num_heads * key_dim], v [.., num_heads * value_dim], both embed_dim by
    # default. With key_len, k and v come from a second input [key_len, memory_dim]. With `causal` a
    # query sees the keys up to its own; with `lengths` no key behind the length that `heed` was
    # given last.
    # The forward pass keeps x, q, k, v, the context and the attention weights A of all heads
    # [num_heads, seq_len, key_len]; the backward pass makes the gradients of q, k and v where the
    # context's, k and v were. With `recompute` it computes A again, one query row at a time: room
    # for one row, O(seq_len), instead, and for the gradients of k and v.

    def __init__(self, f, name, seq_len, embed_dim, num_heads, recompute=False, bias=True,
                 causal=False, lengths=False, key_dim=None, value_dim=None, key_len=0, memory_dim=0,
                 asked=True):
        for what, n in (("seq_len", seq_len), ("key_len", key_len or seq_len)):
            checks.between("%s.%s" % (name, what), n, 1, 512)
        checks.between("%s.num_heads" % name, num_heads, 1, embed_dim)
        if embed_dim % num_heads and None in (key_dim, value_dim):
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        self.f = f
        self.name = name
        self.seq_len = s = seq_len
        self.embed_dim = e = embed_dim
        self.num_heads = num_heads
        d = embed_dim // num_heads if key_dim is None else key_dim
        w = embed_dim // num_heads if value_dim is None else value_dim
        self.head_dim = checks.between(name + ".key_dim", d, 1, 1 << 15)
        self.value_dim = checks.between(name + ".value_dim", w, 1, 1 << 15)
        self.key_len = keys = key_len or s
        self.causal = causal
        self.lengths = lengths
        self.length = keys
        self.recompute = recompute
        # In a model that it becomes
        self.infers = {"core": "exact", "causal": causal, "lengths": lengths, "options": {},
                       "seq_len": s, "embed_dim": e, "num_heads": num_heads, "key_dim": d,
                       "value_dim": w}
        self._scale = f.softmax_scale(1, d)
        self._keys = hd = num_heads * d  # columns of q and k, and of v
        self._values = hw = num_heads * w
        memory = memory_dim or e
        own = True if asked else None
        self.out = Dense(f, name + ".out", hw, e, s, bias)
        # What the gradient of the context leaves is that of q, and then takes those of x
        self.dq = self.out.dx if d == w else f.zeros(s * hd)
        shared = own
        if asked and not key_len and len(self.dq) == s * e:
            shared = self.dq
        self.q = Dense(f, name + ".q", e, hd, s, bias, own)
        self.k = Dense(f, name + ".k", memory, hd, keys, bias, shared)
        self.v = Dense(f, name + ".v", memory, hw, keys, bias, own if key_len else shared)
        self._size = keys * memory
        self._grads = [None, None] if key_len else None
        self.block = n = 1 if recompute else s  # query rows at a time
        # Of one head, as (stride of the token, of the value)
        row, values = (hd, 1), (hw, 1)
        self._scores = f.product(n, keys, d, row, row, (keys, 1))
        self._context = f.product(n, w, keys, (keys, 1), (1, hw), values)
        self._dscores = f.product(n, keys, w, values, values, (keys, 1))
        self._dq = f.product(n, d, keys, (keys, 1), (1, hd), row)
        self._dv = f.product(keys, w, n, (1, keys), (1, hw), values, add=recompute)
        self._dk = f.product(keys, d, n, (1, keys), (1, hd), row, add=recompute)
        self.scores = f.zeros(n * keys)
        self.weights = f.zeros(keys if recompute else num_heads * s * keys)
        self.context = f.zeros(s * hw)
        self.dk, self.dv = self.k.out, self.v.out
        if recompute:
            self.dk, self.dv = f.zeros(keys * hd), f.zeros(keys * hw)

    def heed(self, length):
        if self.lengths:
            self.length = checks.between("length", length, 1, self.key_len)
        return None if self._grads else length  # queries keep none of a memory

    def _attend(self, head, first):
        # The attention weights of a block of query rows; -> where they start
        s, column = self.key_len, head * self.head_dim
        start = 0 if self.recompute else head * self.seq_len * s
        self._scores(self.q.out, self.k.out, self.scores, first * self._keys + column, column)
        if self.causal or self.length < s:
            self.f.hide(self.scores, self.block, s, self.length, first if self.causal else s)
        self.f.softmax(self.scores, self.weights, start, self.block, s, self._scale)
        return start

    def __call__(self, x, memory=None):
        self.q(x)
        self.k(x if memory is None else memory, memory is None)
        self.v(x if memory is None else memory, True)
        for head in range(self.num_heads):
            column = head * self.value_dim
            first = 0
            while first < self.seq_len:  # a range with a step would allocate
                start = self._attend(head, first)
                self._context(self.weights, self.v.out, self.context, start, column,
                              first * self._values + column)
                first += self.block
        return self.out(self.context)

    def backward(self, grad):
        f, s = self.f, self.seq_len
        dcontext = self.out.backward(grad)
        if self.recompute:
            f.clear(self.dk, self.key_len * self._keys)
            f.clear(self.dv, self.key_len * self._values)
        for head in range(self.num_heads):
            column, values = head * self.head_dim, head * self.value_dim
            first = 0
            while first < s:
                rows, of_values = first * self._keys + column, first * self._values + values
                start = self._attend(head, first) if self.recompute else head * s * self.key_len
                # dA, in the place of the scores
                self._dscores(dcontext, self.v.out, self.scores, of_values, values)
                self._dv(self.weights, dcontext, self.dv, start, of_values, values)
                f.softmax_backward(self.weights, start, self.scores, self.block, self.key_len,
                                   self._scale)
                self._dq(self.scores, self.k.out, self.dq, 0, column, rows)
                self._dk(self.scores, self.q.out, self.dk, 0, rows, column)
                first += self.block
        dx = self.q.backward(self.dq)
        dmemory = self.k.backward(self.dk)
        if self._grads:
            self._grads[0], self._grads[1] = dx, dmemory
        n, onto = self._size, dmemory if self._grads else dx
        if dx is None:
            self.v.backward(self.dv)
            return self._grads
        if not self._grads:
            f.add(dx, dmemory, dx, n)
        f.add(onto, self.v.backward(self.dv), onto, n)
        return self._grads or dx

    def collect_params(self):
        params = []
        for part in (self.q, self.k, self.v, self.out):
            params += part.collect_params()
        return params


    def measured(self):
        return [(self.name + ".q", self.q.out), (self.name + ".k", self.k.out),
                (self.name + ".v", self.v.out), (self.name + ".heads", self.context),
                (self.name, self.out.out)]

    def requantize(self, r, fields, scale):
        from ...quantize import output_constants, score_constants

        scales = {part: r.scale("%s.%s" % (self.name, part)) for part in ("q", "k", "v", "heads")}
        # As in attn8_host.quantize: at most 8 times as fine as v
        scales["heads"] = max(scales["heads"], scales["v"] / 8)
        r.linear(self.q, scale, scales["q"])
        r.linear(self.k, r.takes[-1], scales["k"])
        r.linear(self.v, r.takes[-1], scales["v"])
        after = r.result(fields)
        r.linear(self.out, scales["heads"], after)
        constants = fields["constants"]
        (constants["score_mult"], constants["score_shift"], constants["score_limit"]) = (
            score_constants(scales["q"] * scales["k"] / self.head_dim**0.5, self.head_dim)
        )
        constants["out_num"], constants["out_shift"] = output_constants(
            scales["v"] / scales["heads"]
        )
        fields["scales"] = scales
        return after


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return make(f, entry, s, e, entry.lengths(s)), s * e


def make(f, entry, seq_len, embed_dim, lengths, key_len=0, memory_dim=0):
    core = entry.word("core", "exact")
    if core != "exact":
        raise ValueError("%s.core: attention trains with the core exact; got %s"
                         % (entry.name, core))
    return MultiHeadAttention(f, entry.name, seq_len, embed_dim, entry.size("num_heads"),
                              entry.flag("recompute", False), entry.flag("bias", True),
                              entry.flag("causal", False), lengths,
                              entry.integer("key_dim", None), entry.integer("value_dim", None),
                              key_len, memory_dim, entry.asked)
