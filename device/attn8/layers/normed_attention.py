from ..dense16 import Dense16
from .grouped_attention import build as build_grouped
from .rms_norm import RMSNorm

TOKENWISE = True


class NormedHeads:
    # The product of Dense16 `dense`, with 16 bits of its own, and behind that RMSNorm `norm` of
    # each head

    def __init__(self, dense, norm):
        self._dense = Dense16(dense.linear, 1, dense.out)
        self._norm = norm

    def run(self, x):
        return self._norm.run(self._dense.run(x))


def build(entry, given, need_weights):
    # Grouped attention whose queries and keys are normalized in each head before they turn
    from ..entry import number

    layer, gives = build_grouped(entry, given, need_weights)
    if layer._turns is None:
        raise ValueError("%s: the config lacks rotary_base" % entry.name)
    number(entry.name, "eps", entry.take("eps"))  # the integers stand for it
    q, k, v = layer._parts
    layer._parts = [_normed(entry, "q_norm", q, layer.num_heads, layer.head_dim),
                    _normed(entry, "k_norm", k, layer.num_kv_heads, layer.head_dim), v]
    return layer, gives


def _normed(entry, part, dense, heads, n):
    c = entry.keywords(part)
    if len(c) != 3:
        raise ValueError("%s.%s: expected three constants, got %d" % (entry.name, part, len(c)))
    for key in ("shift", "eps_mult", "eps_shift"):
        if key not in c:
            raise ValueError("%s.%s: the config lacks %s" % (entry.name, part, key))
    norm = RMSNorm(heads, entry.tensor(part + ".weight", "i", [n]),
                   entry.tensor(part + ".bias", "i", [n]), c["shift"], c["eps_mult"],
                   c["eps_shift"], "int16", "%s.%s" % (entry.name, part))
    return NormedHeads(dense, norm)
