from .dense import Dense
from .relu import ReLU


class SelfAttention1D:
    # Linear self-attention [seq_len, embed_dim] -> [seq_len, projection_dim], without softmax:
    #   q = relu(x @ w_q.T + b_q), k = relu(x @ w_k.T + b_k), v = x @ w_v.T + b_v
    #   kv = k.T @ v [projection_dim, projection_dim], out = q @ kv

    def __init__(self, f, name, seq_len, embed_dim, projection_dim):
        self.f = f
        self.name = name
        self.seq_len = n = seq_len
        self.embed_dim = embed_dim
        self.projection_dim = p = projection_dim
        self.q = Dense(f, name + ".q", embed_dim, p, n)
        self.k = Dense(f, name + ".k", embed_dim, p, n)
        self.v = Dense(f, name + ".v", embed_dim, p, n)
        self._relu_q = ReLU(f, name + ".q", n * p)
        self._relu_k = ReLU(f, name + ".k", n * p)
        row, column = (p, 1), (1, p)
        self._outer = f.product(p, p, n, column, column, row)  # a.T @ b
        self._apply = f.product(n, p, p, row, column, row)  # a @ b
        self._apply_transposed = f.product(n, p, p, row, row, row)  # a @ b.T
        self.kv = f.zeros(p * p)
        self.dkv = f.zeros(p * p)
        self.out = f.zeros(n * p)
        self.dq = f.zeros(n * p)
        self.dk = f.zeros(n * p)
        self.dv = f.zeros(n * p)

    def __call__(self, x):
        q = self._relu_q(self.q(x))
        k = self._relu_k(self.k(x))
        self._outer(k, self.v(x), self.kv)
        self._apply(q, self.kv, self.out)
        return self.out

    def backward(self, grad):
        f = self.f
        f.accept(grad, self.seq_len * self.projection_dim, self.name)
        self._apply_transposed(grad, self.kv, self.dq)
        self._outer(self._relu_q.out, grad, self.dkv)
        self._apply_transposed(self.v.out, self.dkv, self.dk)
        self._apply(self._relu_k.out, self.dkv, self.dv)
        size = self.seq_len * self.embed_dim
        dx = self.q.backward(self._relu_q.backward(self.dq))
        f.add(dx, self.k.backward(self._relu_k.backward(self.dk)), dx, size)
        f.add(dx, self.v.backward(self.dv), dx, size)
        return dx

    def collect_params(self):
        return self.q.collect_params() + self.k.collect_params() + self.v.collect_params()


    def measured(self):
        return []

    def requantize(self, r, fields, scale):
        raise ValueError("%s: there is no int8 form of self_attention_1d" % self.name)


def build(f, entry, given):
    s, e, p = entry.size("seq_len"), entry.size("embed_dim"), entry.size("projection_dim")
    entry.accept(("", given), "", s * e)
    return SelfAttention1D(f, entry.name, s, e, p), s * p
