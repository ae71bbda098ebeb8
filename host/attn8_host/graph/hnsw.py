"""HNSW graphs (Malkov and Yashunin, 2018) by faiss."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Attn8Error


@dataclass
class Hnsw:
    """The graph of an index.

    Attributes:
        layers: the nodes of each layer, rising; layer 0, which has all, first.
        edges: (from, to) with from < to, of all layers, rising.
    """

    layers: list[list[int]]
    edges: list[tuple[int, int]]


def build(embeddings: np.ndarray, links: int = 4, ef_construction: int = 40) -> Hnsw:
    """Indexes the tokens' embeddings.

    Args:
        embeddings: float [S, E].
        links: faiss's M: edges of a node in the upper layers; layer 0 has twice as many.
        ef_construction: how thoroughly the index looks for neighbours.

    Raises:
        Attn8Error: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise Attn8Error("this mask needs faiss: pip install 'attn8[graph]'") from None
    index = faiss.IndexHNSWFlat(embeddings.shape[1], links)
    index.hnsw.efConstruction = ef_construction
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # with more, the graph would differ from run to run
    index.add(np.ascontiguousarray(embeddings, np.float32))
    faiss.omp_set_num_threads(threads)

    graph: Any = index.hnsw
    levels = faiss.vector_to_array(graph.levels)  # how many layers a node is in
    offsets = faiss.vector_to_array(graph.offsets).astype(int)
    before = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    neighbours = faiss.vector_to_array(graph.neighbors)
    edges = set()
    for node, count in enumerate(levels):
        # Its neighbours in every layer, one layer after the other; -1 where there are fewer
        end = offsets[node] + before[count]
        edges |= {
            (min(node, int(other)), max(node, int(other)))
            for other in neighbours[offsets[node] : end]
            if other >= 0
        }
    layers = [np.flatnonzero(levels > layer).tolist() for layer in range(levels.max())]
    return Hnsw(layers, sorted(edges))
