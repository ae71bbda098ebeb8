from array import array

from ... import checks, tables
from . import Core

CHUNK = 16  # tokens of a causal core that are computed at a time, at most


class Chunk:
    # Products of n tokens of a head, of `heads` whose values lie side by side. causal: with those
    # of pairs of its tokens, [n, n]

    def __init__(self, f, n, d, heads, normalize, causal):
        self.n = n
        # As (stride of the token, of the value); (0, 0): one number for all
        row, column, square = (heads * d, 1), (1, heads * d), (d, 1)
        one, of_rows, pairs = (0, 0), (heads, 1), (n, 1)
        self.outer = f.product(d, d, n, column, column, square, add=True)  # a.T @ b
        self.apply = f.product(n, d, d, row, (1, d), row)  # a @ S
        self.back = f.product(n, d, d, row, square, row, add=normalize)  # a @ S.T
        if normalize:
            self.sum = f.product(d, 1, n, column, one, (1, 1), add=True)
            self.weigh = f.product(n, 1, d, row, (0, 1), of_rows)
            self.outer_row = f.product(n, d, 1, of_rows, (1, 0), row)
            self.sum_rows = f.product(d, 1, n, column, (0, heads), (1, 1), add=True)
            self.spread = f.product(n, d, 1, one, (1, 0), row)
        if causal:
            self.pairs = f.product(n, n, d, row, row, pairs)  # a @ b.T
            self.within = f.product(n, d, n, pairs, column, row, add=True)  # pairs @ a
            self.across = f.product(n, d, n, (1, n), column, row, add=True)  # pairs.T @ a
            if normalize:
                self.weigh_pairs = f.product(n, 1, n, pairs, one, of_rows, add=True)
                self.spread_pairs = f.product(n, n, 1, of_rows, one, pairs)
                self.add_pairs = f.product(n, n, d, row, row, pairs, add=True)


class Linear(Core):
    # context = phi(q) @ S / (phi(q) @ z), S = phi(k).T @ v and z = sum(phi(k)), both over the
    # number of keys; without `normalize` phi(q) @ S of the plain sum. With `causal` row t takes the
    # sums of t + 1 tokens: those of the chunks before its own, which run along, and of its own the
    # pairs phi(q) @ phi(k).T below the diagonal. phi: "relu"; "relu+1", with a step of the int8 q
    # or k, steps / 2**24, in place of 1; or "elu+1". Hidden keys add nothing.
    # The backward pass sums S up again for the gradient of phi(q), and then, from the last token
    # on, T = phi(q).T @ (gradient / denominator) for those of phi(k) and v.

    READS = ("context",)  # type: ignore[assignment]
    options = ["block_rows", "normalize", "phi"]
    constants = ["steps"]
    maker = "linear_constants"

    def __init__(self, f, name, sizes, operands, causal, recompute, phi="relu+1", normalize=True,
                 steps=(), **options):
        super().__init__(f, name, sizes, operands, causal)
        heads, s, _, d, _ = sizes
        if phi not in ("relu", "relu+1", "elu+1"):
            raise ValueError("%s.options.phi: expected relu, relu+1 or elu+1, got %s" % (name, phi))
        if len(steps) != (2 if phi == "relu+1" else 0):
            raise ValueError("%s.constants.steps: expected those of q and k with relu+1, got %s"
                             % (name, steps))
        self.p = f.pointwise()
        self.rooms = [f.room("spare", s * heads * d), f.room("spare", s * heads * d)]
        for n in steps:
            checks.between(name + ".constants.steps", n, 0, 1 << 24)
        if f.typecode == "i":
            from ...kernels import fixed_linear as kernels
            from ...kernels.fixed_norm import stretch

            self._numbers = f.frac, f.limit, f.count
            down = 24 - f.frac
            self.steps = [array("i", [(n + (1 << down >> 1)) >> down]) for n in steps]
        else:
            from ...kernels import floating_linear as kernels
            from ...kernels.floating_linear import stretch

            self._numbers = 0, 0, None
            self.steps = [array(f.typecode, [n / 16777216]) for n in steps]
        self._kernels = kernels
        self._stretch = stretch
        self.elu = phi == "elu+1"
        self.normalize = normalize
        self._columns = hd = heads * d
        self._minus = array(f.typecode, [f.number(-1.0)])
        count = (s + CHUNK - 1) // CHUNK if causal else 1
        n = (s + count - 1) // count
        self._chunks = [Chunk(f, n, d, heads, normalize, causal)] * (s // n)
        if s % n:
            self._chunks.append(Chunk(f, s % n, d, heads, normalize, causal))
        if causal:
            self.pairs = f.room("spare", n * n)
        size = d * d
        if normalize:
            self._row_sums = f.product(s, 1, d, (hd, 1), (0, 0), (heads, 1))
            self._share = f.factor(1, s)
            self.factors = f.zeros(s * heads)  # of the denominators [s, heads]
            self.totals = f.zeros(s * heads)  # -rowsum(gradient * context)
            size += d
        self.phi_q = f.room("kept", s * hd)
        self.phi_k = f.room("kept", s * hd)
        self.state = f.zeros(size)  # S and behind it z, and then T and what z is there
        self.means = f.zeros(size) if normalize else self.state
        self.dk, self.dv = self.k, self.v

    def _features(self, x, part, out):
        f, n = self.f, self.seq_len * self._columns
        if self.elu:
            frac, limit, count = self._numbers
            self._kernels.elu_plus_one(x, 0, out, tables.EXP2, n, frac, limit, count)
            return
        f.relu(x, x, out, n)
        if self.steps:
            f.spread(self.steps[part], self.rooms[0], n, 1)
            f.add(out, self.rooms[0], out, n)

    def _hide(self, x):
        # 0 for the keys from `length` on
        n = self._columns
        self._kernels.blank(x, self.length * n, self.seq_len * n)

    def _add(self, chunk, at):
        # The tokens of a chunk, whose values begin there
        chunk.outer(self.phi_k, self.v, self.state, at, at)
        if self.normalize:
            d = self.key_dim
            chunk.sum(self.phi_k, self.p.one, self.state, at, 0, d * d, True)
            self.f.scale(self.state, self.means, len(self.state), self._share)

    def _add_back(self, chunk, c, at, row):
        # The same of the gradients of their contexts
        chunk.outer(self.phi_q, c, self.state, at, at)
        if self.normalize:
            d = self.key_dim
            chunk.sum_rows(self.phi_q, self.totals, self.state, at, row, d * d, True)

    def _before(self, n, share=False):
        # Of the pairs of a chunk, those of a token with itself and others before it
        self._kernels.triangle(self.pairs, n)
        if share:
            self.f.scale(self.pairs, self.pairs, n * n, self._share)

    def _gradients(self, chunk, c, at, row, share):
        # Those of the pairs of a chunk
        if self.normalize:
            chunk.spread_pairs(self.totals, self.p.one, self.pairs, row)
            chunk.add_pairs(c, self.v, self.pairs, at, at)
        else:
            chunk.pairs(c, self.v, self.pairs, at, at)
        self._before(chunk.n, share)

    def _divide(self, x):
        _, limit, count = self._numbers
        self._stretch(x, 0, self.factors, self.seq_len * self.num_heads, self.key_dim, limit, count)

    def __call__(self):
        f, p = self.f, self.p  # a tuple of four would allocate
        heads, d = self.num_heads, self.key_dim
        self._features(self.q, 0, self.phi_q)
        self._features(self.k, 1, self.phi_k)
        self._hide(self.phi_k)
        for head in range(heads):
            f.clear(self.means, len(self.means))
            f.clear(self.state, len(self.state))
            at, row = head * d, head
            for chunk in self._chunks:
                if not self.causal:
                    self._add(chunk, at)
                chunk.apply(self.phi_q, self.means, self.context, at, 0, at)
                if self.normalize:
                    chunk.weigh(self.phi_q, self.means, self.factors, at, d * d, row, True)
                if self.causal:
                    chunk.pairs(self.phi_q, self.phi_k, self.pairs, at, at, 0, True)
                    self._before(chunk.n, self.normalize)
                    chunk.within(self.pairs, self.v, self.context, 0, at, at)
                    if self.normalize:
                        chunk.weigh_pairs(self.pairs, p.one, self.factors, 0, 0, row, True)
                    self._add(chunk, at)
                at += chunk.n * self._columns
                row += chunk.n * heads
        if self.normalize:
            self._kernels.reciprocals(self.factors, 0, self.factors, self.seq_len * heads,
                                      self._numbers[0])
            self._divide(self.context)
        return self.context

    def backward(self, dcontext, dq):
        f, p, n = self.f, self.p, self.seq_len * self._columns
        heads, d = self.num_heads, self.key_dim
        of_q, of_k = self.rooms
        if self.normalize:
            p.multiply(dcontext, self.context, of_q, 1, n)
            for head in range(heads):
                self._row_sums(of_q, self._minus, self.totals, head * d, 0, head)
        for head in range(heads):
            f.clear(self.means, len(self.means))
            f.clear(self.state, len(self.state))
            at, row = head * d, head
            for chunk in self._chunks:
                if not self.causal:
                    self._add(chunk, at)
                if self.normalize:
                    chunk.outer_row(self.totals, self.means, of_q, row, d * d, at)
                chunk.back(dcontext, self.means, of_q, at, 0, at)
                if self.causal:
                    self._gradients(chunk, dcontext, at, row, self.normalize)
                    chunk.within(self.pairs, self.phi_k, of_q, 0, at, at)
                    self._add(chunk, at)
                at += chunk.n * self._columns
                row += chunk.n * heads
        if self.normalize:
            self._divide(of_q)
        if self.elu:
            p.within(self.phi_q, of_k, n, 1)
            p.multiply(of_q, of_k, of_q, 1, n)
        else:
            f.relu(of_q, self.q, of_q, n)
        if self.normalize:
            self._divide(self.phi_q)
        for head in range(heads):
            f.clear(self.state, len(self.state))
            first, i = self.seq_len, len(self._chunks)
            while i:
                i -= 1
                chunk = self._chunks[i]
                first -= chunk.n
                at, row = first * self._columns + head * d, first * heads + head
                if not self.causal:
                    self._add_back(chunk, dcontext, at, row)
                if self.normalize:
                    chunk.spread(p.one, self.state, of_k, 0, d * d, at)
                chunk.back(self.v, self.state, of_k, at, 0, at)
                if self.causal:
                    self._gradients(chunk, dcontext, at, row, False)
                    chunk.across(self.pairs, self.phi_q, of_k, 0, at, at)
                chunk.apply(self.phi_k, self.state, self.v, at, 0, at)
                if self.causal:
                    chunk.pairs(self.phi_q, self.phi_k, self.pairs, at, at)
                    self._before(chunk.n)
                    chunk.across(self.pairs, dcontext, self.v, 0, at, at)
                    self._add_back(chunk, dcontext, at, row)
        if self.normalize:
            f.scale(of_k, of_k, n, self._share)
            f.scale(self.v, self.v, n, self._share)
        if self.elu:
            p.within(self.phi_k, self.phi_k, n, 1)
            p.multiply(of_k, self.phi_k, self.k, 1, n)
        else:
            f.relu(of_k, self.k, self.k, n)
        self._hide(self.k)
        f.spread(of_q, dq, 1, n)
