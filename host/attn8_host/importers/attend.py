"""Finds attention in the graph: softmax(q @ k * scale + mask) @ v."""

from dataclasses import dataclass

import numpy as np

from .build import move
from .graph import Node, constant

HIDDEN = -1e4  # added to a score, that hides a key as well as -inf does


@dataclass(frozen=True)
class Scores:
    """An attention's parts.

    Attributes:
        node: the last matmul.
        operands: q [..., tokens, head_dim], k [..., head_dim, keys] and v [..., keys, head_dim].
        scale: of the scores.
        seen: [tokens, keys] whether a query sees a key.
        sources: names of the original's tensors in them.
    """

    node: Node
    operands: tuple[Node, Node, Node]
    scale: float
    seen: np.ndarray
    sources: frozenset[str]

    def causal(self, n: int) -> bool:
        """Whether a token sees only itself and those before it, rather than all.

        Raises:
            ModelError: neither.
        """
        if self.seen.all():
            return False
        if np.array_equal(self.seen, np.tri(n, dtype=bool)):
            return True
        raise self.node.refuse("the attention's mask is neither causal nor empty; take it out, or "
                               "choose the core sparse, which keeps it")


def scores_of(node: Node) -> Scores:
    """The attention that ends in a matmul.

    Raises:
        ModelError: it is none.
    """
    weights, values = node.inputs
    n, keys = node.shape[-2], values.shape[-2]
    plain, order = weights, np.arange(weights.sample.size)
    while plain.op == "move":
        order = plain.fields["index"].ravel()[order]
        plain = plain.inputs[0]
    if plain.op != "softmax":
        raise node.refuse("a product of two values that depend on the input is only known as "
                          "softmax(q @ k) @ v")
    shape, axis = weights.shape, plain.fields["axis"]
    places = np.arange(plain.sample.size).reshape(plain.shape)
    wanted = np.moveaxis(places, axis, -1).reshape(-1, plain.shape[axis])  # a softmax a row
    found = order.reshape(-1, keys)
    if found.shape != wanted.shape or not np.array_equal(found[np.argsort(found[:, 0])], wanted):
        raise node.refuse("the softmax's weights are rearranged")
    factor, offset = np.ones(shape), np.zeros(shape)
    # order: of the weights, where they are in the scores
    scores, sources = plain.inputs[0], plain.sources
    while scores.op in ("affine", "move"):
        sources |= scores.sources
        if scores.op == "move":
            index = scores.fields["index"].ravel()
            if len(index) == scores.inputs[0].sample.size and (index < 0).any():  # times 0
                hidden = index < 0
                factor = np.where(hidden[order].reshape(shape), 0.0, factor)
                index = np.where(hidden, np.arange(len(index)), index)
            if not np.array_equal(np.sort(index), np.arange(scores.inputs[0].sample.size)):
                raise node.refuse("only a part of the scores is used, or a part twice")
            order = index[order]
        else:
            at = order.reshape(shape)
            # Infinite offsets stay; their factor may be 0
            with np.errstate(invalid="ignore"):
                offset = np.where(factor == 0, offset,
                                  factor * scores.fields["offset"].ravel()[at] + offset)
            factor = factor * scores.fields["factor"].ravel()[at]
        scores = scores.inputs[0]
    q, k = _operands(node, scores, order.reshape(-1, n, keys))
    if scores.op == "linear":
        sources |= scores.sources
    seen = (offset > HIDDEN).reshape(-1, n, keys)
    if (seen != seen[0]).any():
        raise node.refuse("the heads have different masks")
    shown = factor.reshape(-1, n, keys)[:, seen[0]]
    added = offset.reshape(-1, n, keys)
    # What all keys of a query have alike does not change their softmax
    added = (added - added.max(axis=-1, keepdims=True))[:, seen[0]]
    if not shown.size or not np.allclose(shown, shown.flat[0]) or not np.allclose(added, 0):
        raise node.refuse("something is added to the scores that is no mask (a bias by position, "
                          "for one); that is not known")
    return Scores(node, (q, k, values), float(shown.flat[0]), seen[0], sources)


def _operands(node: Node, scores: Node, order: np.ndarray) -> tuple[Node, Node]:
    """q [heads, tokens, head_dim] and k [heads, head_dim, keys] of a product.

    order: [heads, tokens, keys], where each score is in the product.
    """
    heads, n, keys = order.shape
    if scores.op == "linear":  # constant queries
        weight = scores.fields["weight"]  # a bias is alike for all keys of a query
        own = np.arange(order.size).reshape(keys, n).T
        if heads == 1 and len(weight) == n and np.array_equal(order[0], own):
            q = constant(scores.name, weight[None], scores.sources)
            return q, move(scores.inputs[0], lambda x: x.reshape(1, keys, -1).swapaxes(1, 2))
    if scores.op == "matmul":
        a, b = (move(each, lambda x: x.reshape(-1, *x.shape[-2:])) for each in scores.inputs)
        size = n * keys
        place = order[:, 0, 0] // size
        for q, k, own in ((a, b, np.arange(size).reshape(n, keys)),
                          (b, a, np.arange(size).reshape(keys, n).T)):
            if q is b:  # the product was turned
                q, k = (move(each, lambda x: x.swapaxes(1, 2)) for each in (q, k))
            if len(q.sample) == len(k.sample) == heads and np.array_equal(
                    order, place[:, None, None] * size + own):
                return (move(q, lambda x: x[place]), move(k, lambda x: x[place]))
        raise node.refuse("the scores are rearranged")
    hint = "; a mask has to be an input of its own, (x, mask)" if scores.op == "function" or (
        scores.op == "add") else ""
    raise node.refuse(f"the scores come from {scores.name} {list(scores.shape)}, which is no "
                      f"product of queries and keys{hint}")
