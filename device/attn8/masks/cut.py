# Partitions of the tokens by minimum cuts of their similarity graph (Stoer and Wagner, 1997)
from array import array

from .. import checks

MAX_NODES = 64  # a cut takes about nodes**3 / 3 steps of Python


def minimum_cut(weights):
    # weights: int32 [n, n], symmetric, of the edges, from 0, of at least two nodes.
    # -> (weight of the cut, the nodes of one side, rising)
    n = checks.between("nodes", _check(weights), 2, MAX_NODES)
    return _minimum_cut(weights, n, list(range(n)))


def partition(weights, parts):
    # Splits, `parts` - 1 times, the part whose minimum cut weighs least; -> the part of each token,
    # parts being numbered by their first tokens
    n = _check(weights)
    checks.between("parts", parts, 1, n)
    groups = [_group(weights, n, list(range(n)))]
    while len(groups) < parts:
        groups.sort()
        _, _, side, nodes = groups.pop(0)
        rest = [node for node in nodes if node not in side]
        groups += (_group(weights, n, side), _group(weights, n, rest))
    labels = [0] * n
    for label, nodes in enumerate(sorted(group[3] for group in groups)):
        for node in nodes:
            labels[node] = label
    return labels


def _check(weights):
    n = int(len(checks.values("weights", weights, code="i")) ** 0.5 + 0.5)
    checks.values("weights", weights, n * n, False, "i")
    checks.between("nodes", n, 1, MAX_NODES)
    for a in range(n):
        for b in range(a):
            # Sums of up to 64 * 64 of them stay below 2**30
            checks.between("weight", weights[a * n + b], 0, (1 << 18) - 1)
            if weights[a * n + b] != weights[b * n + a]:
                raise ValueError("weights: expected a symmetric matrix, got %d for (%d, %d) and %d"
                                 % (weights[a * n + b], a, b, weights[b * n + a]))
    return n


def _group(weights, n, nodes):
    # (a part that cannot be split comes last, weight of its cut, a side of it, its nodes)
    if len(nodes) == 1:
        return 1, 0, nodes, nodes
    cut, side = _minimum_cut(weights, n, nodes)
    return 0, cut, side, nodes


def _minimum_cut(weights, n, nodes):
    m = len(nodes)
    w = array("i", bytes(4 * m * m))
    at = 0
    for a in nodes:
        for b in nodes:
            w[at] = weights[a * n + b]
            at += 1
    merged = [[node] for node in nodes]
    active = list(range(m))
    best = None
    side = nodes
    while len(active) > 1:
        # One phase: add to the set the node that is tied to it most, until two are left
        last = active[0]
        rest = active[1:]
        ties = [w[last * m + j] for j in range(m)]
        while rest:
            before = last
            last = rest[0]
            for j in rest:
                if ties[j] > ties[last]:
                    last = j
            rest.remove(last)
            for j in rest:
                ties[j] += w[last * m + j]
        if best is None or ties[last] < best:
            best = ties[last]
            side = sorted(merged[last])
        active.remove(last)
        merged[before] += merged[last]
        for j in active:
            if j != before:
                w[before * m + j] += w[last * m + j]
                w[j * m + before] = w[before * m + j]
    return best, side
