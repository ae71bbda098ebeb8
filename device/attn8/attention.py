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
    # under `name`.; they are taken out of the dict. constants and options (window ...) are those of
    # the core, as keywords; so are tensors `name`.core.KEYWORD [num_heads, ...], a share per head.
    # q, k, v and heads are kept as [num_heads, seq_len, head_dim], so that a head is contiguous.
    # With a streaming core, `step` takes the next token alone.

    def __init__(self, seq_len, embed_dim, num_heads, tensors, constants, core="exact",
                 causal=False, need_weights=False, name="attn", **options):
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
        options.update(constants)
        shares = _shares(tensors, name + ".core.", num_heads)
        streaming = hasattr(kind, "step")
        views = [memoryview(t) for t in (self.q, self.k, self.v, self.heads)]
        self.cores = []
        self._calls = []
        for h in range(num_heads):
            # Heads run in turn: they can all use one core where it keeps nothing of its own
            if need_weights or streaming or shares[h] or not self.cores:
                options.update(shares[h])
                buffers = self.cores[0].buffers if self.cores else None
                self.cores.append(kind(seq_len, head_dim, causal=causal, need_weights=need_weights,
                                       buffers=buffers, **options))
            self._calls.append((self.cores[-1], [v[h * n : (h + 1) * n] for v in views]))
        # What the cores keep for whoever asked with need_weights: (name, typecode, array)
        self.outputs = [("%s.%d" % (part, h), code, values)
                        for h, core in enumerate(self.cores) for part, code, values in core.outputs]
        if streaming:
            self._row_out = Dense(self.out.linear)
            self._token = [p[:-1] + (p[-1][:head_dim],) for p in self._projections]
            merged = memoryview(self._merged)
            self._merged_row = merged[:embed_dim]
            self._steps = [(core, qkvo[0][:head_dim], qkvo[1][:head_dim], qkvo[2][:head_dim],
                            merged[h * head_dim : (h + 1) * head_dim])
                           for h, (core, qkvo) in enumerate(self._calls)]

    def __call__(self, x):
        checks.int8(self.name, x, self.seq_len * self.embed_dim)
        for w, bias, mult, shift, target in self._projections:
            matmul(w, 0, x, bias, mult, shift, target, self._row, self.seq_len, self.embed_dim,
                   self.head_dim, 0)
        for core, (q, k, v, out) in self._calls:
            core(q, k, v, out)
        kernels.merge_heads(self.heads, self._merged, self.num_heads, self.seq_len, self.head_dim)
        return self.out(self._merged)

    def step(self, x):
        # The next token, int8 [embed_dim] in and out; only with a streaming core
        checks.int8(self.name, x, self.embed_dim)
        for w, bias, mult, shift, target in self._token:
            matmul(w, 0, x, bias, mult, shift, target, self._row, 1, self.embed_dim, self.head_dim,
                   0)
        for core, q, k, v, out in self._steps:
            core.step(q, k, v, out)
        return self._row_out(self._merged_row)

    def reset(self):
        # The next token is the first one of a new sequence
        for core in self.cores:
            core.reset()


def _shares(tensors, prefix, num_heads):
    # Takes the tensors under `prefix` out of the dict: one dict of keywords for each head
    shares = [{} for _ in range(num_heads)]
    for key in [key for key in tensors if key.startswith(prefix)]:
        tensor = tensors.pop(key)
        n, rest = divmod(len(tensor), num_heads)
        if rest:
            raise ValueError("%s: expected a share for each of %d heads, got %d values"
                             % (key, num_heads, len(tensor)))
        view = memoryview(tensor)
        for h in range(num_heads):
            shares[h][key[len(prefix) :]] = view[h * n : (h + 1) * n]
    return shares
