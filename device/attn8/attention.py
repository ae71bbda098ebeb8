from array import array

from . import checks, cores
from .kernels import attention as kernels
from .kernels.matmul import matmul
from .layers.dense import Dense, Linear


class MultiHeadAttention:
    # Multi-head self-attention, int8 [seq_len, embed_dim] in and out:
    #   q, k, v = x @ w.T + b, each head attends on its own, out = heads @ w_out.T + b_out
    #
    # tensors holds the parameters as arrays: q, k, v, out . weight, bias, mult, shift (see Linear),
    # under `name`.; they are taken out of the dict. constants are those of the core, as keywords.
    # q, k, v and heads are kept as [num_heads, seq_len, head_dim], so that a head is contiguous.

    def __init__(self, seq_len, embed_dim, num_heads, tensors, constants, core="exact",
                 causal=False, need_weights=False, name="attn"):
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        if embed_dim % num_heads:
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        self.name = name
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = head_dim = embed_dim // num_heads
        kind = cores.get(core)
        size = seq_len * embed_dim
        self.q = array("b", bytes(size))
        self.k = array("b", bytes(size))
        self.v = array("b", bytes(size))
        self.heads = array("b", bytes(size))
        self._merged = array("b", bytes(size))
        self._row = bytearray(embed_dim)
        self._linears = [Linear.take(tensors, name + "." + part, embed_dim, embed_dim)
                         for part in ("q", "k", "v")]
        self.out = Dense(Linear.take(tensors, name + ".out", embed_dim, embed_dim), seq_len)

        # Views are made here, once: a slice made in a forward pass would allocate
        n = seq_len * head_dim
        self._projections = []
        for linear, target in zip(self._linears, (self.q, self.k, self.v)):
            if linear.wide:
                raise ValueError("missing tensor %s.mult" % linear.name)
            view = memoryview(target)
            for h, share in enumerate(linear.heads(num_heads)):
                self._projections.append(share + (view[h * n : (h + 1) * n],))
        views = [memoryview(t) for t in (self.q, self.k, self.v, self.heads)]
        self.cores = []
        self._calls = []
        for h in range(num_heads):
            # Without need_weights the heads, which run in turn, can all use one core
            if need_weights or not self.cores:
                buffers = self.cores[0].buffers if self.cores else None
                self.cores.append(kind(seq_len, head_dim, causal=causal, need_weights=need_weights,
                                       buffers=buffers, **constants))
            self._calls.append((self.cores[-1], [v[h * n : (h + 1) * n] for v in views]))

    def __call__(self, x):
        checks.int8(self.name, x, self.seq_len * self.embed_dim)
        for w, bias, mult, shift, target in self._projections:
            matmul(w, 0, x, bias, mult, shift, target, self._row, self.seq_len, self.embed_dim,
                   self.head_dim, 0)
        for core, (q, k, v, out) in self._calls:
            core(q, k, v, out)
        kernels.merge_heads(self.heads, self._merged, self.num_heads, self.seq_len, self.head_dim)
        return self.out(self._merged)
