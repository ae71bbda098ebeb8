"""Masks that follow an HNSW graph over the tokens (Malkov and Yashunin, 2018)."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..schema import between
from .mask import Mask, boundaries
from .patterns import local_window


def from_hnsw_layers(seq_len: int, layers: Sequence[Sequence[int]]) -> Mask:
    """A node sees all nodes of each layer that it is in and of the layers above.

    Args:
        seq_len: number of tokens, which are the nodes.
        layers: the nodes of each layer, rising; layer 0, the finest, first.

    Raises:
        ValueError: a node is not of this sequence, or comes twice or out of order in a layer.
    """
    dense = np.zeros((seq_len, seq_len), bool)
    for level, nodes in enumerate(layers):
        _check(nodes, seq_len)
        boundaries(nodes)
        for above in layers[level:]:
            _check(above, seq_len)
            dense[np.ix_(nodes, above)] = True
    return Mask.from_dense(dense)


def from_hnsw_edges(seq_len: int, edges: Iterable[tuple[int, int]]) -> Mask:
    """The two nodes of each edge see each other; ValueError for a node not of this sequence."""
    dense = np.zeros((seq_len, seq_len), bool)
    for edge in edges:
        _check(edge, seq_len)
        a, b = edge
        dense[a, b] = dense[b, a] = True
    return Mask.from_dense(dense)


def adaptive(seq_len: int, window: int, edges: Iterable[tuple[int, int]]) -> Mask:
    """A local window for detail and the graph's edges for reach."""
    return local_window(seq_len, window).union(from_hnsw_edges(seq_len, edges))


def global_indices(layers: Sequence[Sequence[int]]) -> list[int]:
    """The nodes of layers 1 and up, rising: what every token sees in local-global attention."""
    return sorted({node for nodes in layers[1:] for node in nodes})


def _check(nodes: Iterable[int], seq_len: int) -> None:
    for node in nodes:
        between("node", node, 0, seq_len - 1)
