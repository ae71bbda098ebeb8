from . import Core

ROWS = 256  # attention weights that are there at a time where memory is to be saved; half of them
# where parameters train directly


class Exact(Core):
    # Per head A = softmax(q @ k.T / sqrt(key_dim)), context = A @ v. With `causal` a query sees the
    # keys up to its own, with a length none behind it.
    # The attention weights A of all heads [num_heads, seq_len, key_len] are kept, and the gradients
    # of k and v take the place of these. With `recompute` the backward pass computes A again, one
    # query row at a time: room for one row, O(seq_len), instead, and for the gradients of k and v.
    # Where all of the model is made again (see graph.py), that is A of a head, some rows after
    # others, in whose places their gradients come: the same to the bit.

    options = ["block_rows", "precise"]
    value_widths = crosses = by_rows = True

    def __init__(self, f, name, sizes, operands, causal, recompute, **options):
        super().__init__(f, name, sizes, operands, causal)
        heads, s, keys, d, w = sizes
        self.recompute = recompute
        self._again = recompute or bool(f.rooms and f.rooms.recompute)
        self._scale = f.softmax_scale(1, d)
        self._keys = hd = heads * d  # columns of q and k, and of v
        self._values = hw = heads * w
        n, of_v = 1 if recompute else s, (hw, 1)
        # Of one head, as (stride of the token, of the value)
        self._dv = f.product(keys, w, n, (1, keys), (1, hw), (hw, 1), add=recompute)
        self._dk = f.product(keys, d, n, (1, keys), (1, hd), (hd, 1), add=recompute)
        self.by_rows = self.by_rows and self._again and not recompute
        if self.by_rows:
            count = -(-s * keys // (ROWS // 2 if f.rooms.direct else ROWS))
            n = -(-s // count)
            of_v = w, 1
        self.most = n  # query rows at a time

        def products(n):
            return (f.product(n, keys, d, (hd, 1), (hd, 1), (keys, 1)),
                    f.product(n, w, keys, (keys, 1), (1, hw), (hw, 1)),
                    f.product(n, keys, w, (hw, 1), of_v, (keys, 1)),
                    f.product(n, d, keys, (keys, 1), (1, hd), (hd, 1)))

        self._parts = [products(n)]
        if s % n:
            self._parts.append(products(s % n))
        self._next(0)
        self.scores = self.weights = f.room("spare", n * keys)
        if self.by_rows:
            self.dscores = self.scores
            self.whole, self.values = f.room("back", s * keys), f.room("back", keys * w)
        elif self._again:  # a softmax in place
            self.dscores = f.room("back", n * keys)
        else:
            self.dscores = self.scores
            self.weights = f.room("kept", heads * s * keys)
        self.dk, self.dv = self.k, self.v
        if recompute:
            f.phase(1, 3)
            self.dk, self.dv = f.room("back", keys * hd), f.room("back", keys * hw)
            f.phase(1, 1)

    def _next(self, first):
        # Takes the products of the query rows from there on -> those behind them
        self.block = min(self.most, self.seq_len - first)
        self._scores, self._context, self._dscores, self._dq = self._parts[
            0 if self.block == self.most else 1]
        return first + self.block

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
                behind = self._next(first)
                start = self._attend(head, first)
                self._context(self.weights, self.v, self.context, start, column,
                              first * self._values + column)
                first = behind
        return self.context

    def _backward(self, dcontext, dq):
        f, s, keys, scores = self.f, self.seq_len, self.key_len, self.scores
        for head in range(self.num_heads):
            column, values = head * self.key_dim, head * self.value_dim
            before = f.overflows
            first = 0
            while first < s:
                behind = self._next(first)
                self._attend(head, first)
                f.copy(scores, self.whole, 0, first * keys, self.block, keys, keys, keys)
                first = behind
            f.recount(before)  # what saturated was counted
            f.copy(self.v, self.values, values, 0, keys, self.value_dim, self._values,
                   self.value_dim)
            self._dv(self.whole, dcontext, self.dv, 0, values, values)
            first = 0
            while first < s:
                behind = self._next(first)
                rows, at = first * self._keys + column, first * keys
                self._dscores(dcontext, self.values, scores, first * self._values + values)  # dA
                f.softmax_backward(self.whole, at, scores, self.block, keys, self._scale)
                self._dq(scores, self.k, dq, 0, column, rows)
                f.copy(scores, self.whole, 0, at, self.block, keys, keys, keys)
                first = behind
            self._dk(self.whole, self.q, self.dk, 0, column, column)

    def backward(self, dcontext, dq):
        if self.by_rows:
            self._backward(dcontext, dq)
            return
        f, s = self.f, self.seq_len
        if self.recompute:
            f.clear(self.dk, self.key_len * self._keys)
            f.clear(self.dv, self.key_len * self._values)
        for head in range(self.num_heads):
            column, values = head * self.key_dim, head * self.value_dim
            first = 0
            while first < s:
                rows, of_values = first * self._keys + column, first * self._values + values
                start = self._kept(head, first) if self._again else head * s * self.key_len
                self._dscores(dcontext, self.v, self.dscores, of_values, values)  # dA
                self._dv(self.weights, dcontext, self.dv, start, of_values, values)
                f.softmax_backward(self.weights, start, self.dscores, self.block, self.key_len,
                                   self._scale)
                self._dq(self.dscores, self.k, dq, 0, column, rows)
                self._dk(self.dscores, self.q, self.dk, 0, rows, column)
                first += self.block
