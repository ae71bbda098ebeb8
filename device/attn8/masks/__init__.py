# Sparse attention masks: which keys each query may attend to. The class Mask and its builders,
# which take seq_len first, are imported from their modules when they are first used.
from ..public import look

# Keywords, as the interpreter knows these as words: dir and TAB find no others
_builders = dict(
    adaptive="hnsw",
    block_diagonal="patterns",
    causal="patterns",
    from_cut="mincut",
    from_hnsw_edges="hnsw",
    from_hnsw_layers="hnsw",
    full="patterns",
    global_indices="patterns",
    local_global="patterns",
    local_window="patterns",
    random="drawn",
    strided="patterns",
)
_modules = "mask", "cut", "drawn", "hnsw", "mincut", "patterns"


def __getattr__(name):
    path = "mask" if name == "Mask" else name if name in _modules else _builders.get(name)
    if path is None:
        raise AttributeError(name)
    return look("attn8.masks." + path, name)


def build(seq_len, name, *arguments):
    # A mask from its description as model files hold it, [name of the builder, arguments ...]
    if type(name) is not str or name not in _builders:
        raise ValueError("mask: expected one of %s, got %s" % (", ".join(sorted(_builders)), name))
    return __getattr__(name)(seq_len, *arguments)
