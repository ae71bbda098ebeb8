import attn8.cores as cores

from .. import checks
from .attention import MultiHeadAttention, make

INPUTS = 2
HEEDS = 1  # the input whose tokens a length counts


class CrossAttention:
    # Multi-head attention to another sequence, the second input, that may have a length

    HEEDS = HEEDS

    def __init__(self, layer):
        self._layer = checks.kind("layer", layer, MultiHeadAttention)

    def parts(self):
        return self._layer.parts()

    def __call__(self, x, memory):
        return self._layer(x, memory)

    def heed(self, length):
        # -> None: queries keep no length of the input
        self._layer.heed(length)


def build(entry, given, need_weights):
    # seq_len x embed_dim, and the memory [key_len, memory_dim]
    if entry.step:
        raise ValueError("%s: there are no steps with a cross_attention" % entry.name)
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    keys, width = entry.rows("key_len"), entry.size("memory_dim")
    core = entry.word("core")
    form = cores.form(core)
    if core != "exact":
        raise ValueError("%s.core: %s takes keys and values of its own sequence only; take exact"
                         % (entry.name, core))
    entry.accept(given[0], form, s * e)
    entry.accept(given[1], form, keys * width)
    lengths = entry.lengths(keys)
    layer, output = make(entry, core, s, e, width, keys, need_weights, lengths)
    return CrossAttention(layer), (output, s * e)
