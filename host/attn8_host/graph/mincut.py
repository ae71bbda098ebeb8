"""Minimum cuts with networkx; the board has its own for up to 64 tokens (masks/cut.py)."""

import numpy as np

from ..errors import Attn8Error
from ..masks import cut


def minimum_cut(weights: np.ndarray) -> tuple[int, list[int]]:
    """A minimum cut: its weight, and the nodes of one side, rising.

    Args:
        weights: int32 [n, n], symmetric, of the edges between n >= 2 nodes; 0: no edge.

    Raises:
        Attn8Error: networkx is not installed.
    """
    try:
        import networkx
    except ImportError:
        raise Attn8Error("this mask needs networkx: pip install 'attn8[graph]'") from None
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(weights)))
    graph.add_weighted_edges_from(
        (int(a), int(b), int(weights[a, b])) for a, b in np.argwhere(np.triu(weights, 1))
    )
    if not networkx.is_connected(graph):
        return 0, sorted(networkx.node_connected_component(graph, 0))
    value, (side, _) = networkx.stoer_wagner(graph)
    return int(value), sorted(side)


def partition(weights: np.ndarray, parts: int) -> list[int]:
    """The part of each node after `parts` - 1 minimum cuts (see masks.cut.partition)."""
    return cut.partition(weights, parts, minimum_cut, max_nodes=len(weights))
