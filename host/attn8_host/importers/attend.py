"""Finds attention in the graph: softmax(q @ k * scale + mask) @ v."""

from dataclasses import dataclass

import numpy as np

from .graph import Node

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
        raise self.node.refuse("the attention's mask is neither causal nor empty; take it out, and "
                               "give a core with a window or a mask in the config")


def scores_of(node: Node) -> Scores:
    """The attention that ends in a matmul.

    Raises:
        ModelError: it is none.
    """
    weights, values = node.inputs
    plain = weights
    while plain.op == "move":
        plain = plain.inputs[0]
    if plain.op != "softmax" or plain.fields["axis"] != len(plain.shape) - 1:
        raise node.refuse("a product of two values that depend on the input is only known as "
                          "softmax(q @ k) @ v")
    if weights is not plain and weights.fields["index"].ravel().tolist() != list(
            range(plain.sample.size)):
        raise node.refuse("the softmax's weights are rearranged")
    factor, offset = np.ones(plain.shape), np.zeros(plain.shape)
    scores, sources = plain.inputs[0], plain.sources
    while scores.op in ("affine", "move"):
        if scores.op == "move":
            index = scores.fields["index"]
            if index.size != scores.inputs[0].sample.size or (
                    index.ravel() != np.arange(index.size)).any():
                raise node.refuse("the scores are rearranged")
            factor, offset = (x.reshape(scores.inputs[0].shape) for x in (factor, offset))
        else:
            sources |= scores.sources
            # Infinite offsets stay; their factor may be 0
            with np.errstate(invalid="ignore"):
                offset = np.where(factor == 0, offset, factor * scores.fields["offset"] + offset)
            factor = factor * scores.fields["factor"]
        scores = scores.inputs[0]
    if scores.op != "matmul":
        raise node.refuse(f"the scores come from {scores.name} {list(scores.shape)}, which is no "
                          "product of queries and keys")
    n, keys = scores.shape[-2:]
    seen = (offset > HIDDEN).reshape(-1, n, keys)
    if (seen != seen[0]).any():
        raise node.refuse("the heads have different masks")
    shown = factor.reshape(-1, n, keys)[:, seen[0]]
    added = offset.reshape(-1, n, keys)[:, seen[0]]
    if not shown.size or not np.allclose(shown, shown.flat[0]) or not np.allclose(added, 0):
        raise node.refuse("something is added to the scores that is no mask (a bias by position, "
                          "for one); that is not known")
    q, k = scores.inputs
    return Scores(node, (q, k, values), float(shown.flat[0]), seen[0], sources)
