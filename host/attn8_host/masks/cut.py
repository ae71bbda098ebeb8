"""Partitions of the tokens by minimum cuts of their similarity graph (Stoer and Wagner, 1997)."""

from collections.abc import Callable

import numpy as np

MAX_NODES = 64  # as on the device, where a cut takes about nodes**3 / 3 steps of Python
MAX_WEIGHT = (1 << 18) - 1  # sums of up to 64 * 64 of them stay below 2**30

# From weights [n, n] to the weight of a minimum cut and the nodes of one side, rising
Cut = Callable[[np.ndarray], tuple[int, list[int]]]


def minimum_cut(weights: np.ndarray) -> tuple[int, list[int]]:
    """The minimum cut of a graph, the first that the device finds where there are several.

    Args:
        weights: int32 [n, n], symmetric, 0 to 2**18 - 1, of the edges between n >= 2 nodes.

    Returns:
        Weight of the cut; the nodes of one side, rising.
    """
    w = weights.astype(np.int64)
    merged = [[node] for node in range(len(w))]
    active = list(range(len(w)))
    best: tuple[int, list[int]] | None = None
    while len(active) > 1:
        last, rest = active[0], active[1:]
        ties = w[last].copy()
        while rest:
            before, last = last, max(rest, key=lambda node: ties[node])
            rest.remove(last)
            ties[rest] += w[last, rest]
        if best is None or ties[last] < best[0]:
            best = int(ties[last]), sorted(merged[last])
        active.remove(last)
        merged[before] += merged[last]
        others = [node for node in active if node != before]
        w[before, others] += w[last, others]
        w[others, before] = w[before, others]
    assert best is not None
    return best


def partition(
    weights: np.ndarray, parts: int, cut: Cut = minimum_cut, max_nodes: int = MAX_NODES
) -> list[int]:
    """Splits, `parts` - 1 times, the part whose minimum cut weighs least.

    Args:
        weights: as for minimum_cut.
        parts: how many there are to be, 1 to n.
        cut: what finds the minimum cut of a part.
        max_nodes: the most that are taken; the device's limit by default.

    Returns:
        The part of each node; parts are numbered by their first nodes.

    Raises:
        ValueError: weights are not symmetric or out of range, or there are not so many nodes.
    """
    n = len(weights)
    if not 1 <= n <= max_nodes:
        raise ValueError(f"nodes: expected 1 to {max_nodes}, got {n}")
    if weights.shape != (n, n) or (weights != weights.T).any():
        raise ValueError("weights: expected a symmetric matrix")
    off = weights[~np.eye(n, dtype=bool)]
    if off.size and not (off.min() >= 0 and off.max() <= MAX_WEIGHT):
        raise ValueError(f"weight: expected 0 to {MAX_WEIGHT}, got {off.min()} to {off.max()}")
    if not 1 <= parts <= n:
        raise ValueError(f"parts: expected 1 to {n}, got {parts}")

    def group(nodes: list[int]) -> tuple[int, int, list[int], list[int]]:
        """(a part that cannot be split comes last, weight of its cut, a side of it, its nodes)."""
        if len(nodes) == 1:
            return 1, 0, nodes, nodes
        value, side = cut(weights[np.ix_(nodes, nodes)])
        return 0, value, [nodes[i] for i in side], nodes

    groups = [group(list(range(n)))]
    while len(groups) < parts:
        groups.sort()
        _, _, side, nodes = groups.pop(0)
        groups += [group(side), group([node for node in nodes if node not in side])]
    labels = [0] * n
    for label, nodes in enumerate(sorted(group[3] for group in groups)):
        for node in nodes:
            labels[node] = label
    return labels
