import attn8.cores as cores

from .attention import make

INPUTS = 2


def build(entry, given, need_weights):
    # Multi-head attention to another sequence, the second input: [key_len, memory_dim]
    if entry.step:
        raise ValueError("%s: there are no steps with a cross_attention" % entry.name)
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    keys, width = entry.size("key_len"), entry.size("memory_dim")
    core = entry.word("core")
    form = cores.form(core)
    entry.accept(given[0], form, s * e)
    entry.accept(given[1], form, keys * width)
    layer, output = make(entry, core, s, e, width, keys, need_weights)
    # No object: queries keep no length of the input, and have no steps
    return lambda x, memory: layer(x, memory), (output, s * e)
