from ... import checks
from .dense import Dense


class MultiHeadAttention:
    # Softmax self-attention [seq_len, embed_dim] -> [seq_len, embed_dim]:
    #   q, k, v = x @ w.T + b; A = softmax(q @ k.T / sqrt(head_dim)) per head;
    #   context = A @ v; out = context @ w_out.T + b_out
    # The forward pass keeps x, q, k, v, the context and the attention weights A of all heads
    # [num_heads, seq_len, seq_len]. With `recompute` the backward pass computes A again, one query
    # row at a time: room for one row, O(seq_len), instead.

    def __init__(self, f, name, seq_len, embed_dim, num_heads, recompute=False, bias=True):
        checks.between(name + ".seq_len", seq_len, 1, 512)
        checks.between("%s.num_heads" % name, num_heads, 1, embed_dim)
        if embed_dim % num_heads:
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        self.f = f
        self.name = name
        self.seq_len = s = seq_len
        self.embed_dim = e = embed_dim
        self.num_heads = num_heads
        self.head_dim = d = embed_dim // num_heads
        self.recompute = recompute
        # In a model that it becomes
        self.infers = {"core": "exact", "causal": False, "options": {}, "seq_len": s,
                       "embed_dim": e, "num_heads": num_heads, "key_dim": d, "value_dim": d}
        self._scale = f.softmax_scale(1, d)
        self.q = Dense(f, name + ".q", e, e, s, bias)
        self.k = Dense(f, name + ".k", e, e, s, bias)
        self.v = Dense(f, name + ".v", e, e, s, bias)
        self.out = Dense(f, name + ".out", e, e, s, bias)
        self.block = n = 1 if recompute else s  # query rows at a time
        row = (e, 1)  # of one head in [seq_len, embed_dim], as (stride of the token, of the value)
        column = (1, e)
        self._scores = f.product(n, s, d, row, row, (s, 1))
        self._context = f.product(n, d, s, (s, 1), column, row)
        self._dv = f.product(s, d, n, (1, s), column, row, add=True)
        self._dk = f.product(s, d, n, (1, s), column, row, add=True)
        self.scores = f.zeros(n * s)
        self.weights = f.zeros(s if recompute else num_heads * s * s)
        self.context = f.zeros(s * e)
        self.dq = f.zeros(s * e)
        self.dk = f.zeros(s * e)
        self.dv = f.zeros(s * e)
        self._zero = f.zeros(s * e)

    def _attend(self, head, first):
        # The attention weights of a block of query rows; -> where they start
        s = self.seq_len
        start = 0 if self.recompute else head * s * s
        column = head * self.head_dim
        self._scores(self.q.out, self.k.out, self.scores, first * self.embed_dim + column, column)
        self.f.softmax(self.scores, self.weights, start, self.block, s, self._scale)
        return start

    def __call__(self, x):
        self.q(x)
        self.k(x, True)
        self.v(x, True)
        for head in range(self.num_heads):
            column = head * self.head_dim
            first = 0
            while first < self.seq_len:  # a range with a step would allocate
                start = self._attend(head, first)
                self._context(self.weights, self.v.out, self.context, start, column,
                              first * self.embed_dim + column)
                first += self.block
        return self.out(self.context)

    def backward(self, grad):
        f, s, e = self.f, self.seq_len, self.embed_dim
        dcontext = self.out.backward(grad)
        f.spread(self._zero, self.dk, 1, s * e)
        f.spread(self._zero, self.dv, 1, s * e)
        for head in range(self.num_heads):
            column = head * self.head_dim
            first = 0
            while first < s:
                rows = first * e + column
                start = self._attend(head, first) if self.recompute else head * s * s
                self._dv(self.weights, dcontext, self.dv, start, rows, column)
                # dA, then the gradient of the scores, in the place of the scores
                self._scores(dcontext, self.v.out, self.scores, rows, column)
                f.softmax_backward(self.weights, start, self.scores, self.block, s, self._scale)
                self._context(self.scores, self.k.out, self.dq, 0, column, rows)
                self._dk(self.scores, self.q.out, self.dk, 0, rows, column)
                first += self.block
        dx = self.q.backward(self.dq)
        f.add(dx, self.k.backward(self.dk), dx, s * e)
        f.add(dx, self.v.backward(self.dv), dx, s * e)
        return dx

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
        for part in ("q", "k", "v"):
            r.linear(getattr(self, part), scale, scales[part])
        after = r.scale(self.name)
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
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    for key, value in (("causal", False), ("core", "exact")):
        found = entry.take(key, value)
        if found != value:
            raise ValueError("%s.%s: attention trains with the core exact, not causal; got %s"
                             % (entry.name, key, found))
    entry.accept(("", given), "", s * e)
    layer = MultiHeadAttention(f, entry.name, s, e, entry.size("num_heads"),
                               entry.flag("recompute", False), entry.flag("bias", True))
    return layer, s * e
