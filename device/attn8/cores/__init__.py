# Attention cores: each turns q, k, v of one head, int8 [seq_len, head_dim], into out of the same
# shape. A core is named by its module; `get` imports it when it is first asked for.

_cores = {"exact": "Exact"}


def get(name):
    if name not in _cores:
        raise ValueError("core: expected one of %s, got %s" % (", ".join(sorted(_cores)), name))
    module = __import__("attn8.cores." + name, None, None, [_cores[name]])
    return getattr(module, _cores[name])
