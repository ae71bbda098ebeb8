from ..pointwise import Norm, small
from .dense import Dense
from .grouped_attention import GroupedAttention
from .grouped_attention import build as build_grouped

TOKENWISE = True


class HeadNorm(Norm):
    # A norm without means of each of `rows` heads, within a layer. room: what it computes in, by
    # default its own

    def __init__(self, f, name, rows, features, eps, room=None):
        self.f = f
        self.name = name
        self.rows = rows
        self.features = n = features
        self.p = f.pointwise()
        self.room = room or f.room("spare", rows * n)
        self._of = self.p.norm(name, rows, n, eps)
        self.weight = f.parameter(name + ".weight", n)
        self.bias = None
        self.x = None
        self.out = f.room("kept", rows * n)
        self.dx = f.room("back", rows * n)


class NormedHeads(Dense):
    # A product, and the norm of its heads behind it

    def __init__(self, dense, norm):
        self.dense = dense
        self.normed = norm
        self.out = norm.out

    def __call__(self, x, again=False):
        return self.normed(self.dense(x, again))

    def backward(self, grad):
        return self.dense.backward(self.normed.backward(grad))

    def collect_params(self):
        return self.dense.collect_params() + self.normed.collect_params()


class NormedAttention(GroupedAttention):
    # Grouped attention whose queries and keys are normalized in each head before they turn

    def __init__(self, f, name, seq_len, embed_dim, num_heads, num_kv_heads, bias, turns, sines,
                 most, asked, eps):
        super().__init__(f, name, seq_len, embed_dim, num_heads, num_kv_heads, bias, turns, sines,
                         most, asked)
        s, d = seq_len, self.head_dim
        norm = HeadNorm(f, name + ".q_norm", s * num_heads, d, eps)
        self._projected = self.q, self.k
        self.q = NormedHeads(self.q, norm)
        self.k = NormedHeads(self.k, HeadNorm(f, name + ".k_norm", s * num_kv_heads, d, eps,
                                              norm.room))

    def measured(self):
        q, k = self._projected
        return super().measured() + [(self.name + ".q_projected", q.out),
                                     (self.name + ".k_projected", k.out)]

    def learned(self, r, part, linear, scale, after, fields, scales):
        if part == "v":
            GroupedAttention.learned(self, r, part, linear, scale, after, fields, scales)
            return
        key = part + "_projected"
        room = 254 * r.scale("%s.%s" % (self.name, key)) / 32767  # twice what was measured
        GroupedAttention.learned(self, r, key, linear.dense, scale, room, fields, scales)
        scales[part] = after
        r.norm(linear.normed, fields[part + "_norm"], fields["scales"][key] / scales[key], after)


def build(f, entry, given):
    return build_grouped(f, entry, given, NormedAttention, small(entry))
