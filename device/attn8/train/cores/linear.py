from array import array

from ... import checks, tables
from . import Core


class Linear(Core):
    # context = phi(q) @ S / (phi(q) @ z), S = phi(k).T @ v and z = sum(phi(k)), both over the
    # number of keys; without `normalize` phi(q) @ S of the plain sum. With `causal` row t takes the
    # sums of t + 1 tokens, which run along. phi: "relu"; "relu+1", with a step of the int8 q or k,
    # steps / 2**24, in place of 1; or "elu+1". Hidden keys add nothing.
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
        self.block = n = 1 if causal else s  # tokens at a time
        self._columns = hd = heads * d
        self._minus = array(f.typecode, [f.number(-1.0)])
        # Of one head, as (stride of the token, of the value); (0, 0): one number for all
        row, column, square = (hd, 1), (1, hd), (d, 1)
        self._outer = f.product(d, d, n, column, column, square, add=True)  # a.T @ b
        self._apply = f.product(n, d, d, row, (1, d), row)  # a @ S
        self._back = f.product(n, d, d, row, square, row, add=normalize)  # a @ S.T
        size = d * d
        if normalize:
            one, of_rows = (0, 0), (heads, 1)
            self._sum = f.product(d, 1, n, column, one, (1, 1), add=True)
            self._weigh = f.product(n, 1, d, row, (0, 1), of_rows)
            self._row_sums = f.product(s, 1, d, row, one, of_rows)
            self._outer_row = f.product(n, d, 1, of_rows, (1, 0), row)
            self._sum_rows = f.product(d, 1, n, column, (0, heads), (1, 1), add=True)
            self._spread = f.product(n, d, 1, one, (1, 0), row)
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

    def _add(self, at):
        # The next tokens of a head, whose values begin there
        self._outer(self.phi_k, self.v, self.state, at, at)
        if self.normalize:
            self._sum(self.phi_k, self.p.one, self.state, at, 0, self.key_dim * self.key_dim)
            self.f.scale(self.state, self.means, len(self.state), self._share)

    def _divide(self, x):
        _, limit, count = self._numbers
        self._stretch(x, 0, self.factors, self.seq_len * self.num_heads, self.key_dim, limit, count)

    def __call__(self):
        f, heads, d = self.f, self.num_heads, self.key_dim
        self._features(self.q, 0, self.phi_q)
        self._features(self.k, 1, self.phi_k)
        self._hide(self.phi_k)
        for head in range(heads):
            f.clear(self.state, len(self.state))
            first = 0
            while first < self.seq_len:
                at = first * self._columns + head * d
                self._add(at)
                self._apply(self.phi_q, self.means, self.context, at, 0, at)
                if self.normalize:
                    self._weigh(self.phi_q, self.means, self.factors, at, d * d,
                                first * heads + head)
                first += self.block
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
            f.clear(self.state, len(self.state))
            first = 0
            while first < self.seq_len:
                at = first * self._columns + head * d
                self._add(at)
                if self.normalize:
                    self._outer_row(self.totals, self.means, of_q, first * heads + head, d * d, at)
                self._back(dcontext, self.means, of_q, at, 0, at)
                first += self.block
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
            first = self.seq_len - self.block
            while first >= 0:
                at = first * self._columns + head * d
                self._outer(self.phi_q, dcontext, self.state, at, at)
                if self.normalize:
                    self._sum_rows(self.phi_q, self.totals, self.state, at, first * heads + head,
                                   d * d)
                    self._spread(p.one, self.state, of_k, 0, d * d, at)
                self._back(self.v, self.state, of_k, at, 0, at)
                self._apply(self.phi_k, self.state, self.v, at, 0, at)
                first -= self.block
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
