"""What a part of the graph computes, by evaluating it: however it was decomposed.

A node "function" becomes one of

    move        x.ravel()[index], index [shape]; -1 where it is 0
    affine      x * factor + offset, both of x's shape
    relu, silu, sigmoid, tanh, gelu (approximate)
    activation  one of layers.activation.FUNCTIONS: function, and its parameters
    layer_norm, rms_norm    over the last axis: eps, weight, bias
    softmax, log_softmax    along axis
    mean        over axes, times factor
    max         over axes
    add, multiply           of two

or stays what it is. Where it is computed from one node further above, through functions only, it is
a function of that node; the furthest is taken.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .activations import PROBES, activation, probed
from .graph import Node, between, evaluate, last_above

Function = Callable[[np.ndarray], np.ndarray]

FURTHEST = 24  # nodes that a pattern may span
KNOWN = ("function", "move", "affine", "relu", "silu", "sigmoid", "tanh", "gelu", "activation",
         "layer_norm", "rms_norm", "softmax", "log_softmax", "mean", "max", "add", "multiply")
EPSILONS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-8, float(np.finfo(np.float32).eps))


def _erf(x: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.vectorize(math.erf, otypes=[float])(x)
    return out


def _sigmoid(x: np.ndarray) -> np.ndarray:
    out: np.ndarray = 1 / (1 + np.exp(-x))
    return out


POINTWISE: list[tuple[str, dict[str, Any], Function]] = [
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("gelu", {"approximate": "none"}, lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2),
    ("gelu", {"approximate": "tanh"}, lambda x: x * (1 + np.tanh(
        math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
    ("silu", {}, lambda x: x * _sigmoid(x)),
    ("sigmoid", {}, _sigmoid),
    ("tanh", {}, np.tanh),
]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for the rounding of float32 constants."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True))


def recognize(node: Node) -> Node:
    """The node, or one of a known op that computes the same."""
    if node.sample.dtype == bool:  # a condition, which is part of what it decides on
        return node
    chain = list(_functions(node))
    with np.errstate(all="ignore"):
        for find, among in ((_move, chain[:1]), (_known, chain[::-1]), (_affine, chain[:1])):
            for above, function in among:
                try:
                    found = find(node, above, function)
                except Exception:  # of a library whose function does not take such values
                    continue
                if found is not None:
                    return _recognized(node, above, function, *found)
        return _binary(node) if len(node.variable) == 2 else node


def _recognized(
    node: Node, above: Node, function: Function, op: str, fields: dict[str, Any]
) -> Node:
    sources = node.sources.union(*(each.sources for each in between(node, above)))
    if op == "move" and node.shape == above.shape and (
            node.sample.dtype.kind == above.sample.dtype.kind) and (
            fields["index"].ravel() == np.arange(node.sample.size)).all():
        if not sources:
            return above
        # Times a tensor that is 1, for one: it reaches its layer all the same
        op, fields = "affine", {"factor": np.ones(node.shape), "offset": np.zeros(node.shape)}
    made = _node(node, op, [above], fields, function)
    made.sources = sources
    return made


def _functions(node: Node) -> Iterator[tuple[Node, Function]]:
    """The nodes above that it is a function of, nearest first, and the function."""
    above = node.above
    for _ in range(FURTHEST):
        if above is None or any(not each.constant and each.op not in KNOWN
                                for each in between(node, above)):
            return

        def function(x: np.ndarray, above: Node = above) -> np.ndarray:
            return np.asarray(evaluate(node, {above: x}))

        yield above, function
        above = above.above


def _node(node: Node, op: str, inputs: list[Node], fields: dict[str, Any],
          compute: Callable[..., np.ndarray]) -> Node:
    return Node(op, node.name, node.path, inputs, node.sample, compute, fields, node.sources, (),
                last_above(inputs), 1 + max(each.depth for each in inputs))


def _binary(node: Node) -> Node:
    """a + b or a * b of two that depend on the input; a and b times constants."""
    a, b = node.variable
    if a is b:
        return node
    if a.shape != node.shape or b.shape != node.shape:
        return _broadcast(node, a, b)
    x = _normal(node.shape)
    y = x[..., ::-1] + 1

    def function(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(evaluate(node, {a: x, b: y}))

    try:
        out, zero = function(x, y), np.zeros(node.shape)
        if same(out, x * y):
            return _node(node, "multiply", [a, b], {}, np.multiply)
        if same(out, function(x, zero) + function(zero, y)):
            parts = [recognize(_node(node, "function", [a], {}, lambda x: function(x, zero))),
                     recognize(_node(node, "function", [b], {}, lambda y: function(zero, y)))]
            return _node(node, "add", parts, {}, np.add)
    except Exception:  # as above
        pass
    return node


def _broadcast(node: Node, a: Node, b: Node) -> Node:
    """a + b or a * b where values of the smaller one, or of both, are repeated."""
    x, y = _normal(a.shape), _normal(b.shape) + 1
    try:
        out = np.asarray(evaluate(node, {a: x, b: y}))
        for op, form in (("multiply", np.multiply), ("add", np.add)):
            if same(out, form(x, y)):
                parts = [each if each.shape == node.shape else recognize(_node(
                    node, "function", [each], {}, lambda x: np.broadcast_to(x, node.shape)))
                    for each in (a, b)]
                return _node(node, op, parts, {}, form)
    except Exception:  # as above
        pass
    return node


def _move(node: Node, above: Node, function: Function) -> tuple[str, dict[str, Any]] | None:
    """The same values in other places, or zeros."""
    size = above.sample.size
    ids = above.sample.dtype.kind in "iu"  # of tokens, from 0
    kind = above.sample.dtype if ids else np.float64
    index = np.rint(function(np.arange(1, size + 1, dtype=kind).reshape(above.shape))) - 1
    if not index.size or not np.isfinite(index).all() or index.min() < -1 or index.max() >= size:
        return None
    index = index.astype(np.int64)
    x = np.abs(100 * _normal(above.shape)).astype(kind) if ids else _normal(above.shape)
    moved = np.append(x.ravel(), 0)[index]
    return ("move", {"index": index}) if same(function(x), moved) else None


def _affine(node: Node, above: Node, function: Function) -> tuple[str, dict[str, Any]] | None:
    """Each value times a constant, plus one; where the factor is 0 the offset may be infinite."""
    if above.shape != node.shape:
        return None
    offset, one = function(np.zeros(above.shape)), function(np.ones(above.shape))
    factor = np.where(offset == one, 0.0, one - offset)
    # The difference is rounded where the offset is large
    factor = np.where(np.abs(factor - 1) < 1e-12 * (1 + np.abs(offset)), 1.0, factor)
    x = _normal(above.shape)
    if same(function(x), np.where(factor == 0, offset, x * factor + offset)):
        return "affine", {"factor": factor, "offset": offset}
    return None


def _known(node: Node, above: Node, function: Function) -> tuple[str, dict[str, Any]] | None:
    x = _normal(above.shape)
    out = function(x)
    if above.shape != node.shape:
        return _mean(x, out) or _max(x, out)
    for op, fields, form in POINTWISE:
        if same(out, form(x)) and same(probed(function, x.shape), form(np.array(PROBES, float))):
            return op, fields
    if x.size and (found := activation(function, x, out, same)):
        return "activation", found
    for axis in range(x.ndim):
        if x.shape[axis] > 1:
            e = np.exp(x - x.max(axis=axis, keepdims=True))
            if same(out, e / e.sum(axis=axis, keepdims=True)):
                return "softmax", {"axis": axis}
            if same(out, np.log(e / e.sum(axis=axis, keepdims=True))):
                return "log_softmax", {"axis": axis}
    if x.ndim and x.shape[-1] > 1:
        part = list(between(node, above))
        numbers = [number for each in part for number in each.numbers]
        numbers += [float(each.sample.ravel()[0]) for each in part
                    if each.constant and each.sample.size == 1]
        return _norm(function, x, out, [*(e for e in numbers if 0 < e < 0.1), *EPSILONS])
    return None


def _normal(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, shape)


def _mean(x: np.ndarray, out: np.ndarray) -> tuple[str, dict[str, Any]] | None:
    """The mean over one axis, or over all but one, times a factor: a sum, for one."""
    for axes in _axes(x.ndim):
        mean = x.mean(axis=axes).ravel()
        if mean.size != out.size or mean.size == x.size:
            continue
        factor = float(out.ravel()[0] / mean[0])
        if same(out.ravel(), mean * factor):
            return "mean", {"axes": axes, "factor": 1.0 if abs(factor - 1) < 1e-6 else factor}
    return None


def _max(x: np.ndarray, out: np.ndarray) -> tuple[str, dict[str, Any]] | None:
    """The largest value over the same axes."""
    for axes in _axes(x.ndim):
        largest = x.max(axis=axes).ravel()
        if largest.size == out.size < x.size and same(out.ravel(), largest):
            return "max", {"axes": axes}
    return None


def _axes(n: int) -> list[tuple[int, ...]]:
    """One of n axes, or all but one."""
    return [(i,) for i in range(n)] + [tuple(i for i in range(n) if i != kept) for kept in range(n)]


def _norm(
    function: Function, x: np.ndarray, out: np.ndarray, epsilons: Iterable[float],
) -> tuple[str, dict[str, Any]] | None:
    """layer_norm or rms_norm over the last axis."""
    small = x / 256  # where epsilon matters
    negative, scaled = function(-x), function(small)
    # Both are odd but for the bias
    bias = ((out + negative) / 2).reshape(-1, x.shape[-1])[0]
    for eps in epsilons:
        for op in ("layer_norm", "rms_norm"):
            normal = _normed(op, x, eps)
            weight = ((out - bias) / normal).reshape(-1, x.shape[-1])[0]
            if (same(out, normal * weight + bias)
                    and same(scaled, _normed(op, small, eps) * weight + bias)):
                return op, {"eps": eps, "weight": weight, "bias": bias}
    return None


def _normed(op: str, x: np.ndarray, eps: float) -> np.ndarray:
    if op == "layer_norm":
        x = x - x.mean(axis=-1, keepdims=True)
    out: np.ndarray = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return out
