"""The graph that the front ends build (see build): what is computed from one input.

Arrays are float64, but for large tensors of the original, which stay as they are stored. A node
that depends on no input is folded: its sample is its value.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ModelError

LARGE = 1 << 22  # bytes of float32 that are not copied to float64

Compute = Callable[..., np.ndarray]


@dataclass(eq=False, repr=False)
class Node:
    """One value of the graph.

    Attributes:
        op: "input", "constant", "linear", "conv1d", "conv2d", "max_pool", "matmul", "concat",
            "embedding", "argmax", "function" of what was not recognized, or one of recognize.
        name: the original's, for messages.
        path: of the module that it belongs to, for the names of layers.
        inputs: what it is computed from.
        sample: its value for the example input.
        compute: from the values of the inputs to its value.
        fields: of the op.
        sources: names of the original's tensors that are part of it.
        numbers: that its compute has in it, such as an epsilon.
        above: the last node that all paths from the input lead through; None of the input itself.
    """

    op: str
    name: str
    path: str
    inputs: Sequence["Node"]
    sample: np.ndarray
    compute: Compute
    fields: dict[str, Any] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()
    numbers: Sequence[float] = ()
    above: "Node | None" = None
    depth: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sample.shape

    @property
    def constant(self) -> bool:
        return self.op == "constant"

    @property
    def variable(self) -> list["Node"]:
        """Those of the inputs that depend on the graph's input."""
        return [node for node in self.inputs if not node.constant]

    def refuse(self, why: str) -> ModelError:
        """The error that this cannot be imported."""
        return ModelError(f"{self.name} {list(self.shape)}: {why}")


def constant(name: str, value: np.ndarray, sources: frozenset[str] = frozenset()) -> Node:
    """A constant of the graph; sources are the original's tensors that it is made of."""
    value = np.asarray(value)
    if value.dtype.kind == "f" and (value.dtype != np.float32 or value.nbytes < LARGE):
        value = value.astype(np.float64)
    return Node("constant", name, "", (), value, lambda: value, sources=sources)


def tensor(name: str, value: np.ndarray) -> Node:
    """A constant that is a tensor of the original.

    Raises:
        ModelError: it holds NaN, or infinities and is no mask of these and zeros.
    """
    if value.dtype.kind == "f":
        extremes = (value.min(), value.max()) if value.size else ()
        if np.isnan(extremes).any():
            raise ModelError(f"{name} {list(value.shape)}: holds NaN; train it again")
        if not np.isfinite(extremes).all() and value[np.isfinite(value)].any():
            raise ModelError(f"{name} {list(value.shape)}: holds infinities; train it again")
    return constant(name, value, frozenset({name}))


def source(name: str, sample: np.ndarray) -> Node:
    """The graph's input."""
    return Node("input", name, "", (), np.asarray(sample), lambda: sample)


def evaluate(node: Node, given: dict[Node, np.ndarray]) -> np.ndarray:
    """The value of a node where others have given values."""
    found = dict(given)

    def value(node: Node) -> np.ndarray:
        if node not in found:
            found[node] = node.sample if node.constant else node.compute(*map(value, node.inputs))
        return found[node]

    with np.errstate(all="ignore"):
        return value(node)


def between(node: Node, above: Node) -> Iterator[Node]:
    """The nodes that a node is computed with from one above, constants among them."""
    seen, todo = {above}, [node]
    while todo:
        found = todo.pop()
        if found not in seen:
            seen.add(found)
            yield found
            todo += found.inputs


def last_above(nodes: Sequence[Node]) -> Node | None:
    """The last node that all paths to these lead through."""
    found: Node | None = nodes[0]
    for other in nodes[1:]:
        first, second = found, other
        while first is not second and first and second:
            if first.depth >= second.depth:
                first = first.above
            else:
                second = second.above  # type: ignore[assignment]
        found = first if first is second else None
    return found
