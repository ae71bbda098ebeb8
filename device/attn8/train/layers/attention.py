from ... import checks
from ...find import cls, module
from .dense import Dense

TOKENWISE = True


class MultiHeadAttention:
    # Attention [seq_len, embed_dim] -> [seq_len, embed_dim]:
    #   q, k, v = x @ w.T + b; context = core(q, k, v); out = context @ w_out.T + b_out
    # q and k are [.., num_heads * key_dim], v [.., num_heads * value_dim], both embed_dim by
    # default. With key_len, k and v come from a second input [key_len, memory_dim]. With `causal` a
    # query sees the keys up to its own; with `lengths` no key behind the length that `heed` was
    # given last. core: see train/cores; options: of the int8 core, constants: of the one that
    # trains.
    # The forward pass keeps x, q, k, v, the context and what the core keeps; the backward pass, in
    # the phases of out, of the core and of q, k and v, makes the gradient of q where the context's
    # was. recompute: the core keeps no more than it
    # must, and computes it again.

    READS = ("x",)
    GRAD = TAKES = 0

    def __init__(self, f, name, seq_len, embed_dim, num_heads, recompute=False, bias=True,
                 causal=False, lengths=False, key_dim=None, value_dim=None, key_len=0, memory_dim=0,
                 asked=True, core="exact", options=None, constants=None):
        for what, n in (("seq_len", seq_len), ("key_len", key_len or seq_len)):
            checks.between("%s.%s" % (name, what), n, 1, 512)
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        if embed_dim % num_heads and None in (key_dim, value_dim):
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        self.f = f
        self.name = name
        s, e = seq_len, embed_dim
        d = embed_dim // num_heads if key_dim is None else key_dim
        w = embed_dim // num_heads if value_dim is None else value_dim
        checks.between(name + ".key_dim", d, 1, 1 << 15)
        checks.between(name + ".value_dim", w, 1, 1 << 15)
        keys = key_len or s
        self.lengths = lengths
        keywords = dict(constants or {})
        options = options or {}
        kind = _core(name, core, d == w, not key_len, options, keywords)
        keywords.update(options)
        # In a model that it becomes
        self.infers = {"core": core, "causal": causal, "lengths": lengths, "options": options,
                       "seq_len": s, "embed_dim": e, "num_heads": num_heads, "key_dim": d,
                       "value_dim": w}
        hd, hw = num_heads * d, num_heads * w
        memory = memory_dim or e
        f.phase(0, 3, 0, 1)
        k, v = f.room("kept", keys * hd), f.room("kept", keys * hw)
        f.phase(0, 1, 0, 1)
        q = f.room("kept", s * hd)
        f.phase(0, 3, 1, 2)
        self.core = kind(f, name, (num_heads, s, keys, d, w), (q, k, v), causal, recompute,
                         **keywords)
        # The gradient of the context lies where that was, if the core needs it no more. What it
        # leaves is that of q, and then takes those of x
        f.phase(0, 3)
        dcontext = f.room("back", s * hw) if "context" in kind.READS else self.core.context
        self.dq = dcontext if d == w else f.room("back", s * hd)
        f.phase(0, 0, 2)
        self.out = Dense(f, name + ".out", hw, e, s, bias, dcontext)
        f.phase(2, 3)
        self.q = Dense(f, name + ".q", e, hd, s, bias, asked or None, out=q)
        dk = dv = None
        if asked:
            dk = dv = self.dq
            if key_len:
                dk, dv = f.room("dx", keys * memory), f.room("back", keys * memory)
            elif hd != e:
                dk = dv = f.room("back", s * e)
        self.k = Dense(f, name + ".k", memory, hd, keys, bias, dk, out=k)
        self.v = Dense(f, name + ".v", memory, hw, keys, bias, dv, out=v)
        f.phase(0, 3)
        self._size = keys * memory
        self._grads = [None, None] if key_len else None
        if hasattr(kind, "DIRECT") or not self.core.collect_params():
            self.DIRECT = True

    def heed(self, length):
        if self.lengths:
            self.core.length = checks.between("length", length, 1, self.core.key_len)
        return None if self._grads else length  # queries keep none of a memory

    def __call__(self, x, memory=None):
        context = self.f.given = self.again(x, memory)
        return self.out(context)

    def again(self, x, memory=None):
        self.q(x)
        self.k(x if memory is None else memory, memory is None)
        self.v(x if memory is None else memory, True)
        return self.core()

    def backward(self, grad):
        f = self.f
        self.core.backward(self.out.backward(grad), self.dq)
        f.given = self.dq
        dx = self.q.backward(self.dq)
        dk = f.given = self.core.dk
        dmemory = self.k.backward(dk)
        if self._grads:
            self._grads[0], self._grads[1] = dx, dmemory
        n, onto = self._size, dmemory if self._grads else dx
        if dx is not None and not self._grads:
            f.add(dx, dmemory, dx, n)
        dv = f.given = self.core.dv
        more = self.v.backward(dv)
        if dx is None:
            return self._grads
        f.add(onto, more, onto, n)
        return self._grads or dx

    def collect_params(self):
        params = []
        for part in (self.q, self.k, self.v, self.out, self.core):
            params += part.collect_params()
        return params


    def measured(self):
        return [(self.name + ".q", self.q.out), (self.name + ".k", self.k.out),
                (self.name + ".v", self.v.out), (self.name + ".heads", self.core.context),
                (self.name, self.out.out)]

    def requantize(self, r, fields, scale):
        scales = {}
        most = {}
        if hasattr(self.core, "wide"):
            from ...cores.exact16 import Exact16

            most["q"] = most["k"] = Exact16.most(self.core.key_dim)
            most["v"], most["heads"] = 32767, 16383
            for each in (self.q, self.k, self.v, self.out):
                each.wide = True
        for part, linear, before in (("q", self.q, scale), ("k", self.k, r.takes[-1]),
                                     ("v", self.v, r.takes[-1]), ("heads", None, 0)):
            scales[part] = r.product("%s.%s" % (self.name, part), linear, before,
                                     most.get(part, 127))
        # As in attn8_host.quantize: at most 8 times as fine as v
        scales["heads"] = max(scales["heads"], scales["v"] / 8)
        r.linear(self.q, scale, scales["q"])
        r.linear(self.k, r.takes[-1], scales["k"])
        r.linear(self.v, r.takes[-1], scales["v"])
        after = r.result(fields, self.out, scales["heads"])
        r.linear(self.out, scales["heads"], after)
        self.core.requantize(r, fields, scales)
        fields["scales"] = scales
        return after


def build(f, entry, given):
    s, e = entry.rows("seq_len"), entry.size("embed_dim")
    entry.accept(("", given), "", s * e)
    return make(f, entry, s, e, entry.lengths(s)), s * e


def make(f, entry, seq_len, embed_dim, lengths, key_len=0, memory_dim=0):
    return MultiHeadAttention(f, entry.name, seq_len, embed_dim, entry.size("num_heads"),
                              entry.flag("recompute", False), entry.flag("bias", True),
                              entry.flag("causal", False), lengths,
                              entry.integer("key_dim", None), entry.integer("value_dim", None),
                              key_len, memory_dim, entry.asked, entry.word("core", "exact"),
                              entry.keywords("options", {}), entry.keywords("constants", {}))


def _core(name, core, one_width, own, options, constants):
    # -> the class of a core, which takes these
    kind = cls(module("train.cores", core), core)
    if not hasattr(kind, "maker"):
        raise ValueError("%s.core: %s does not train; see docs/numerics.md" % (name, core))
    if not one_width and not kind.value_widths:
        raise ValueError("%s.value_dim: core %s takes heads of one width; exact takes two"
                         % (name, core))
    if not own and not kind.crosses:
        raise ValueError("%s.core: %s takes keys and values of its own sequence only; take exact"
                         % (name, core))
    for what, given, known in (("options", options, kind.options),
                               ("constants", constants, getattr(kind, "constants", ()))):
        for key in given:
            if key not in known:
                raise ValueError("%s.%s.%s: core %s takes %s"
                                 % (name, what, key, core, ", ".join(known) or "none"))
    return kind
