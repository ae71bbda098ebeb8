import math
from array import array

from ... import checks
from .dense import Dense

TOKENWISE = True


class GroupedAttention:
    # Causal attention [seq_len, embed_dim] -> [seq_len, embed_dim], as the layer of this name that
    # only runs: of num_heads heads of queries, num_heads / num_kv_heads share each head of keys and
    # values. turns: by how many 2**-32 turns a position turns each pair of adjacent values of q and
    # k; None: they do not turn. most: the largest int16 of these, with a cache of int16.
    # Per head as cores/exact.py; the gradients of k and v are summed up head by head, that of q
    # lies where the context's was, and then takes those of x.

    READS = ("x",)
    DIRECT = True

    def __init__(self, f, name, seq_len, embed_dim, num_heads, num_kv_heads, bias=True, turns=None,
                 sines=None, most=32767, asked=True):
        s, e = checks.between(name + ".seq_len", seq_len, 1, 512), embed_dim
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        checks.between(name + ".num_kv_heads", num_kv_heads, 1, num_heads)
        if e % num_heads:
            raise ValueError("%s.embed_dim: expected a multiple of num_heads %d, got %d"
                             % (name, num_heads, e))
        if num_heads % num_kv_heads:
            raise ValueError("%s.num_kv_heads: expected a divisor of num_heads %d, got %d"
                             % (name, num_heads, num_kv_heads))
        self.f = f
        self.name = name
        self.seq_len, self.embed_dim = s, e
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_dim = d = e // num_heads
        self.infers = {"seq_len": s, "embed_dim": e, "num_heads": num_heads,
                       "num_kv_heads": num_kv_heads}
        self._most = most
        self._columns = kv = num_kv_heads * d
        self._again = f.rooms is not None and f.rooms.recompute
        self.out = Dense(f, name + ".out", e, e, s, bias, f.room("back", s * e))
        self.dq = self.out.dx
        self.q = Dense(f, name + ".q", e, e, s, bias, asked or None, out=f.room("kept", s * e))
        dx = self.dq if asked else None
        self.k = Dense(f, name + ".k", e, kv, s, bias, dx, out=f.room("kept", s * kv))
        self.v = Dense(f, name + ".v", e, kv, s, bias, dx, out=f.room("kept", s * kv))
        self.dk, self.dv = f.room("back", s * kv), f.room("back", s * kv)
        for linear in (self.q, self.k, self.v, self.out):
            linear.wide = True
        self._scale = f.softmax_scale(1, d)
        # Of one head, as (stride of the token, of the value)
        row, shared, square = (e, 1), (kv, 1), (s, 1)
        self._scores = f.product(s, s, d, row, shared, square)
        self._context = f.product(s, d, s, square, (1, kv), row)
        self._dscores = f.product(s, s, d, row, shared, square)
        self._dq = f.product(s, d, s, square, (1, kv), row)
        self._dkv = f.product(s, d, s, (1, s), (1, e), shared, add=True)
        self.scores = f.room("spare", s * s)
        self.weights = (f.room("spare", s * s) if self._again
                        else f.room("kept", num_heads * s * s))
        self.context = f.room("kept", s * e)
        self._turns, self._sines = turns, sines
        self._limits = 0, None
        if f.typecode == "i":
            from ...kernels import fixed_rotary as kernels

            self._limits = f.limit, f.count
        else:
            from ...kernels import floating_rotary as kernels
        self._kernels = kernels
        self._low = self._high = array("i")  # of each channel of the keys

    def _rotate(self, x, heads, back):
        if self._turns is not None:
            limit, count = self._limits
            self._kernels.rotate(x, 0, self._turns, self._sines, self.seq_len, heads,
                                 self.head_dim, back, limit, count)

    def _attend(self, head):
        # A head's attention weights; -> where they start
        f, s, d = self.f, self.seq_len, self.head_dim
        start = 0 if self._again else head * s * s
        self._scores(self.q.out, self.k.out, self.scores, head * d, self._shared(head))
        f.hide(self.scores, s, s, s, 0)
        f.softmax(self.scores, self.weights, start, s, s, self._scale)
        return start

    def _kept(self, head):
        # Where the attention weights are that a backward pass needs
        if not self._again:
            return head * self.seq_len * self.seq_len
        before = self.f.overflows
        start = self._attend(head)
        self.f.recount(before)  # what saturated was counted
        return start

    def _shared(self, head):
        # The first column of its keys and values
        return head * self.num_kv_heads // self.num_heads * self.head_dim

    def __call__(self, x):
        return self.out(self.again(x))

    def again(self, x):
        self.q(x)
        self.k(x, True)
        self.v(x, True)
        self._rotate(self.q.out, self.num_heads, 0)
        self._rotate(self.k.out, self.num_kv_heads, 0)
        if self._low:
            self._kernels.bounds(self.k.out, 0, self._low, self._high, self.seq_len, self._columns)
        for head in range(self.num_heads):
            column = head * self.head_dim
            start = self._attend(head)
            self._context(self.weights, self.v.out, self.context, start, self._shared(head), column)
        return self.context

    def backward(self, grad):
        f, s = self.f, self.seq_len
        dq, dk, dv = self.dq, self.dk, self.dv
        dcontext = self.out.backward(grad)
        f.clear(dk, s * self._columns)
        f.clear(dv, s * self._columns)
        for head in range(self.num_heads):
            column, shared = head * self.head_dim, self._shared(head)
            start = self._kept(head)
            # dA, in the place of the scores
            self._dscores(dcontext, self.v.out, self.scores, column, shared)
            self._dkv(self.weights, dcontext, dv, start, column, shared)
            f.softmax_backward(self.weights, start, self.scores, s, s, self._scale)
            self._dq(self.scores, self.k.out, dq, 0, shared, column)
            self._dkv(self.scores, self.q.out, dk, 0, column, shared)
        self._rotate(dq, self.num_heads, 1)
        self._rotate(dk, self.num_kv_heads, 1)
        dx = self.q.backward(dq)
        found = self.k.backward(dk)
        if dx is not None:
            f.add(dx, found, dx, s * self.embed_dim)
        found = self.v.backward(dv)
        if dx is not None:
            f.add(dx, found, dx, s * self.embed_dim)
        return dx

    def collect_params(self):
        params = []
        for part in (self.q, self.k, self.v, self.out):
            params += part.collect_params()
        return params


    def measured(self):
        # From now on the keys' channels are, too
        self._low = array("i", [self.f.limit] * self._columns)
        self._high = array("i", [-self.f.limit] * self._columns)
        return [(self.name + ".q", self.q.out), (self.name + ".k", self.k.out),
                (self.name + ".v", self.v.out), (self.name + ".heads", self.context),
                (self.name, self.out.out)]

    def requantize(self, r, fields, scale):
        # As attn8_host.layers.grouped_attention has it
        from ...quantize import exact16_constants

        name, narrow = self.name, fields.get("cache", "int8") == "int8"
        most = self._most - 127 * narrow
        scales = {}
        for part, linear, room in (("q", self.q, math.sqrt(2) / most),
                                   ("k", self.k, math.sqrt(2) / most),
                                   ("v", self.v, 2 / (32385 if narrow else 32767))):
            peak = 127 * r.scale("%s.%s" % (name, part))
            self.learned(r, part, linear, scale, peak * room, fields, scales)
        scales["heads"] = max(127 * r.scale(name + ".heads") / 16383, scales["v"] / 8)
        after = r.result(fields, self.out, scales["heads"])
        r.linear(self.out, scales["heads"], after)
        r.pair(self.out)
        if narrow:
            step = 2 * scales["k"] * (1 << self.f.frac)
            r.put(name, "centre", array("h", [math.floor((low + high) / step + 0.5)
                                              for low, high in zip(self._low, self._high)]))
        fields["constants"] = exact16_constants(self.head_dim, scales["q"], scales["k"],
                                                scales["v"], scales["heads"])
        fields["scales"] = scales
        return after

    def learned(self, r, part, linear, scale, after, fields, scales):
        # Writes a product of what comes in steps of `scale`, its results in steps of `after`, or
        # more where its weights cannot express that
        scales[part] = max(after, r.finest(linear, scale))
        r.linear(linear, scale, scales[part])
        r.pair(linear)


def build(f, entry, given, kind=GroupedAttention, *more):
    from ...layers.grouped_attention import SINES, most

    s, e, heads = entry.rows("seq_len"), entry.size("embed_dim"), entry.size("num_heads")
    kv, turns = entry.size("num_kv_heads", heads), entry.take("turns", None)
    entry.accept(("", given), "", s * e)
    d = e // heads
    if turns is not None:
        if type(turns) is not list or len(turns) * 2 != d:
            raise ValueError("%s.turns: expected %d whole numbers, one for two values of a head, "
                             "got %s" % (entry.name, d // 2, turns))
        for n in turns:
            checks.between(entry.name + ".turns", n, -(1 << 31), (1 << 31) - 1)
        turns = array("i", turns)
    layer = kind(f, entry.name, s, e, heads, kv, entry.flag("bias", True), turns, SINES,
                 most(max(d, 1), "int16"), entry.asked, *more)
    return layer, s * e
