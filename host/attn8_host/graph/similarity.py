"""The graph of what is similar, which minimum cuts divide."""

import numpy as np


def similarity(embeddings: np.ndarray, neighbours: int = 2) -> np.ndarray:
    """Edges from each token to its nearest ones by cosine, as weights for a cut.

    Args:
        embeddings: float [S, E]; their mean is taken off.
        neighbours: edges that each token has at least.

    Returns:
        int32 [S, S], symmetric: 255 * cosine, and 0 where there is no edge.
    """
    x = embeddings - embeddings.mean(axis=0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = x @ x.T
    np.fill_diagonal(cosine, -1)
    near = np.zeros(cosine.shape, bool)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
    np.put_along_axis(near, nearest, True, axis=1)
    weights: np.ndarray = np.floor(255 * np.maximum(cosine, 0) + 0.5) * (near | near.T)
    np.fill_diagonal(weights, 0)
    result: np.ndarray = weights.astype(np.int32)
    return result
