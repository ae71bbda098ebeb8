# Masks that follow an HNSW graph over the tokens (Malkov and Yashunin, 2018)
from .. import checks
from .mask import Mask, boundaries, length, several
from .patterns import local_window


def from_hnsw_layers(seq_len, layers):
    # layers: the nodes of each layer, rising, layer 0 (the finest) first. A node sees all nodes of
    # each layer that it is in and of those above.
    seen = [set() for _ in range(length(seq_len))]
    above = set()
    for nodes in reversed(checks.kind("layers", layers, (list, tuple))):
        _check(nodes, seq_len)
        boundaries(nodes)
        above = above | set(nodes)
        for node in nodes:
            seen[node] = above  # lower layers, which come later, see more
    return Mask.from_keys(seq_len, (sorted(keys) for keys in seen))


def from_hnsw_edges(seq_len, edges):
    # edges: (from, to) pairs; both see each other
    seen = [set() for _ in range(length(seq_len))]
    for edge in several("edges", edges):
        _check(edge, seq_len)
        checks.between("nodes of an edge", len(edge), 2, 2)
        a, b = edge
        seen[a].add(b)
        seen[b].add(a)
    return Mask.from_keys(seq_len, (sorted(keys) for keys in seen))


def adaptive(seq_len, window, edges):
    # A local window for detail and the graph's edges for reach
    return local_window(seq_len, window).union(from_hnsw_edges(seq_len, edges))


def global_indices(layers):
    # The nodes of layers 1 and up, rising: what every token should see in local-global attention
    return sorted(set(node for nodes in layers[1:] for node in nodes))


def _check(nodes, seq_len):
    for node in several("nodes", nodes):
        checks.between("node", node, 0, seq_len - 1)
