from . import Core


class Exact(Core):
    # Per head A = softmax(q @ k.T / sqrt(key_dim)), context = A @ v. With `causal` a query sees the
    # keys up to its own, with a length none behind it.
    # The attention weights A of all heads [num_heads, seq_len, key_len] are kept, and the gradients
    # of k and v take the place of these. With `recompute` the backward pass computes A again, one
    # query row at a time: room for one row, O(seq_len), instead, and for the gradients of k and v.
    # Where all of the model is made again (see graph.py), that is A of a head: the same to the bit.

    options = ["block_rows", "precise"]
    value_widths = crosses = True

    def __init__(self, f, name, sizes, operands, causal, recompute, **options):
        super().__init__(f, name, sizes, operands, causal)
        heads, s, keys, d, w = sizes
        self.recompute = recompute
        self._again = recompute or bool(f.rooms and f.rooms.recompute)
        self._scale = f.softmax_scale(1, d)
        self._keys = hd = heads * d  # columns of q and k, and of v
        self._values = hw = heads * w
        self.block = n = 1 if recompute else s  # query rows at a time
        # Of one head, as (stride of the token, of the value)
        row, values = (hd, 1), (hw, 1)
        self._scores = f.product(n, keys, d, row, row, (keys, 1))
        self._context = f.product(n, w, keys, (keys, 1), (1, hw), values)
        self._dscores = f.product(n, keys, w, values, values, (keys, 1))
        self._dq = f.product(n, d, keys, (keys, 1), (1, hd), row)
        self._dv = f.product(keys, w, n, (1, keys), (1, hw), values, add=recompute)
        self._dk = f.product(keys, d, n, (1, keys), (1, hd), row, add=recompute)
        self.scores = self.weights = f.room("spare", n * keys)
        if self._again:  # a softmax in place
            self.dscores = f.room("back", n * keys)
        else:
            self.dscores = self.scores
            self.weights = f.room("kept", heads * s * keys)
        self.dk, self.dv = self.k, self.v
        if recompute:
            f.phase(1, 3)
            self.dk, self.dv = f.room("back", keys * hd), f.room("back", keys * hw)
            f.phase(1, 1)

    def _attend(self, head, first):
        # The attention weights of a block of query rows; -> where they start
        s, column = self.key_len, head * self.key_dim
        start = 0 if self._again else head * self.seq_len * s
        self._scores(self.q, self.k, self.scores, first * self._keys + column, column)
        self._softmax(head, first, start)
        return start

    def _kept(self, head, first):
        # Where the attention weights are that a backward pass needs
        if not self._again:
            return head * self.seq_len * self.key_len
        before = self.f.overflows
        start = self._attend(head, first)
        if not self.recompute:
            self.f.recount(before)  # what saturated was counted
        return start

    def _softmax(self, head, first, start):
        s = self.key_len
        if self.causal or self.length < s:
            self.f.hide(self.scores, self.block, s, self.length, first if self.causal else s)
        self.f.softmax(self.scores, self.weights, start, self.block, s, self._scale)

    def __call__(self):
        for head in range(self.num_heads):
            column = head * self.value_dim
            first = 0
            while first < self.seq_len:  # a range with a step would allocate
                start = self._attend(head, first)
                self._context(self.weights, self.v, self.context, start, column,
                              first * self._values + column)
                first += self.block
        return self.context

    def backward(self, dcontext, dq):
        f, s = self.f, self.seq_len
        if self.recompute:
            f.clear(self.dk, self.key_len * self._keys)
            f.clear(self.dv, self.key_len * self._values)
        for head in range(self.num_heads):
            column, values = head * self.key_dim, head * self.value_dim
            first = 0
            while first < s:
                rows, of_values = first * self._keys + column, first * self._values + values
                start = self._kept(head, first)
                self._dscores(dcontext, self.v, self.dscores, of_values, values)  # dA
                self._dv(self.weights, dcontext, self.dv, start, of_values, values)
                f.softmax_backward(self.weights, start, self.dscores, self.block, self.key_len,
                                   self._scale)
                self._dq(self.dscores, self.k, dq, 0, column, rows)
                self._dk(self.dscores, self.q, self.dk, 0, rows, column)
                first += self.block
