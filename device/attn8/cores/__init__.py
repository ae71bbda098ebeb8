# Attention cores: each turns q, k, v of one head, int8 [seq_len, head_dim], into out of the same
# shape. A core is named by its module; `get` imports it when it is first asked for. All share this:
#   core = Core(seq_len, head_dim, causal=, need_weights=, buffers=, **constants and options)
#   core(q, k, v, out) -> out
#   core.buffers   room to work in, which may go to another core of the same shape as `buffers`;
#                  None where all that a core holds is its own
#   core.outputs   with need_weights the intermediates, [(name, typecode, array)], else empty
#   core.room(seq_len, head_dim, causal=, need_weights=, constants and options) -> the bytes of
#                  the arrays that a core makes for itself and in `buffers`; small ones left out
# A streaming core also has step(q, k, v, out), one token [head_dim] each, and reset().

_cores = {
    "decode": "Decode",
    "exact": "Exact",
    "flash": "Flash",
    "linear": "Linear",
    "local_global": "LocalGlobal",
    "micro": "Micro",
    "performer": "Performer",
    "sliding": "Sliding",
    "sparse": "Sparse",
}


def get(name):
    if name not in _cores:
        raise ValueError("core: expected one of %s, got %s" % (", ".join(sorted(_cores)), name))
    module = __import__("attn8.cores." + name, None, None, [_cores[name]])
    return getattr(module, _cores[name])
