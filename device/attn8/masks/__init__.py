# Sparse attention masks: which keys each query may attend to. The class Mask and its builders,
# which take seq_len first, are imported from their modules when they are first used.

_builders = {
    "adaptive": "hnsw",
    "block_diagonal": "patterns",
    "causal": "patterns",
    "from_cut": "mincut",
    "from_hnsw_edges": "hnsw",
    "from_hnsw_layers": "hnsw",
    "full": "patterns",
    "global_indices": "patterns",
    "local_global": "patterns",
    "local_window": "patterns",
    "random": "drawn",
    "strided": "patterns",
}


def __getattr__(name):
    path = "mask" if name == "Mask" else _builders.get(name, name)
    try:
        module = __import__("attn8.masks." + path, None, None, [path])
    except ImportError:
        raise AttributeError(name)
    return module if name == path else getattr(module, name)


def build(seq_len, name="", *arguments):
    # A mask from its description as model files hold it, [name of the builder, arguments ...]
    if type(name) is not str or name not in _builders:
        raise ValueError("mask: expected one of %s, got %s" % (", ".join(sorted(_builders)), name))
    try:
        return __getattr__(name)(seq_len, *arguments)
    except TypeError:
        raise ValueError("mask: %s does not take %s" % (name, list(arguments)))
