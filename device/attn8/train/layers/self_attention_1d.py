class SelfAttention1D:
    # Linear self-attention [seq_len, embed_dim] -> [seq_len, projection_dim], without softmax:
    #   q = relu(x @ w_q + b_q), k = relu(x @ w_k + b_k), v = x @ w_v + b_v
    #   kv = k.T @ v [projection_dim, projection_dim], out = q @ kv
    # `weights` holds w_q, w_k, w_v [3, embed_dim, projection_dim] and `biases` [3, projection_dim],
    # as the layer has them that only runs. The backward pass computes the gradients of q, k and v
    # in the place of out and that of kv in its own: so all takes the published 6DP + 6P + ND + 4NP
    # + P**2 words, ND of them for dx, as the layer before keeps x.

    def __init__(self, f, name, seq_len, embed_dim, projection_dim, asked=True):
        self.f = f
        self.name = name
        self.seq_len = n = seq_len
        self.embed_dim = d = embed_dim
        self.projection_dim = p = projection_dim
        self.weights = f.parameter(name + ".weights", 3 * d * p)
        self.biases = f.parameter(name + ".biases", 3 * p)
        row, column = (p, 1), (1, p)
        self._project = f.product(n, p, d, (d, 1), column, row, add=True)
        self._outer = f.product(p, p, n, column, column, row)  # a.T @ b
        self._apply = f.product(n, p, p, row, column, row)  # a @ b
        self._apply_transposed = f.product(n, p, p, row, row, row)  # a @ b.T
        self._product_weight = f.product(d, p, n, (1, d), column, row, add=True)
        self._product_x = f.product(n, d, p, row, row, (d, 1))
        self._add_x = f.product(n, d, p, row, row, (d, 1), add=True)
        self._values = self._grads = ()  # of the biases, which come later
        self.x = None
        self.q = f.zeros(n * p)
        self.k = f.zeros(n * p)
        self.v = f.zeros(n * p)
        self.kv = f.zeros(p * p)
        self.out = f.zeros(n * p)
        self.dx = f.zeros(n * d) if asked else None

    def _thirds(self, biases):
        p = self.projection_dim
        view = memoryview(biases)
        return view[:p], view[p : 2 * p], view[2 * p :]

    def __call__(self, x):
        f, n, p = self.f, self.seq_len, self.projection_dim
        self.x = f.accept(x, n * self.embed_dim, self.name)
        if not self._values:
            self._values = self._thirds(self.biases.value)
        self._projected(self.q, 0)
        f.relu(self.q, self.q, self.q, n * p)
        self._projected(self.k, 1)
        f.relu(self.k, self.k, self.k, n * p)
        self._projected(self.v, 2)
        self._outer(self.k, self.v, self.kv)
        self._apply(self.q, self.kv, self.out)
        return self.out

    def _projected(self, out, i):
        self.f.spread(self._values[i], out, self.seq_len, self.projection_dim)
        self._project(self.x, self.weights.value, out, 0, i * self.embed_dim * self.projection_dim)

    def backward(self, grad):
        f, d, kv = self.f, self.out, self.kv
        size = self.seq_len * self.projection_dim
        f.accept(grad, size, self.name)
        if not self._grads:
            self._grads = self._thirds(self.biases.grad)
        self._apply_transposed(grad, kv, d)
        f.relu(d, self.q, d, size)
        self._gradients(0, self._product_x)
        self._outer(self.q, grad, kv)
        self._apply_transposed(self.v, kv, d)
        f.relu(d, self.k, d, size)
        self._gradients(1, self._add_x)
        self._apply(self.k, kv, d)
        self._gradients(2, self._add_x)
        return self.dx

    def _gradients(self, i, product_x):
        # From that of q, k or v, in the place of out
        n, p = self.seq_len, self.projection_dim
        first = i * self.embed_dim * p
        self._product_weight(self.x, self.out, self.weights.grad, 0, 0, first)
        self.f.column_sums(self.out, self._grads[i], n, p)
        if self.dx is not None:
            product_x(self.out, self.weights.value, self.dx, 0, first)

    def collect_params(self):
        return [self.weights, self.biases]

    def measured(self):
        return []

    def requantize(self, r, fields, scale):
        return r.formatted(fields, {"weights": self.weights, "biases": self.biases})


def build(f, entry, given):
    s, e, p = entry.size("seq_len"), entry.size("embed_dim"), entry.size("projection_dim")
    entry.accept(("", given), "", s * e)
    return SelfAttention1D(f, entry.name, s, e, p, entry.asked), s * p
