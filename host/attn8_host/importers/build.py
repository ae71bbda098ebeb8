"""Makes the graph's nodes: what front ends call."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .graph import Compute, Node, constant, evaluate, last_above
from .recognize import recognize


def add(
    op: str, name: str, path: str, inputs: Sequence[Node], compute: Compute,
    fields: dict[str, Any] | None = None, numbers: Sequence[float] = (),
) -> Node:
    """A new node; what it computes is recognized where the op is "function".

    Args:
        op, name, path, inputs, compute, fields, numbers: as of Node.

    Returns:
        The node, or another one that gives the same.
    """
    sources = frozenset().union(*(node.sources for node in inputs if node.constant))
    try:
        with np.errstate(all="ignore"):
            sample = np.asarray(compute(*(node.sample for node in inputs)))
    except ModelError:
        raise
    except Exception as error:  # of whichever library computes it
        raise ModelError(f"{name}: cannot be computed: {str(error).splitlines()[0]}") from None
    if all(node.constant for node in inputs):
        return constant(name, sample, sources)
    node = Node(op, name, path, list(inputs), sample, compute, fields or {}, sources, numbers)
    node.above = last_above(node.variable)
    node.depth = 1 + max(each.depth for each in node.variable)
    if op != "function":
        return node
    found = recognize(node)
    return (found.op in ("function", "mean") and _weighted(node)) or found


def _weighted(node: Node) -> Node | None:
    """(weights * values).sum(tokens), where it is that, as weights @ values."""
    if len(node.variable) != 1 or node.variable[0].op != "multiply":
        return None
    product = node.variable[0]
    shape = product.shape
    for repeated, values in (product.variable, product.variable[::-1]):
        weights = repeated.inputs[0] if repeated.op == "move" else repeated  # one for all features
        if len(shape) < 2 or len(weights.shape) != len(shape) or values.shape != shape:
            continue
        for features in (-1, -2):  # their axis; the tokens are on the other one of the last two
            if weights.shape[features] != 1:
                continue
            rng = np.random.default_rng(0)
            x, y = rng.normal(size=weights.shape), rng.normal(size=shape)
            found = evaluate(node, {weights: x, values: y})
            wanted = (x * y).sum(axis=-3 - features)
            if found.size == wanted.size and np.allclose(found.ravel(), wanted.ravel()):
                row, column = ((_turned(weights), values) if features == -1 else
                               (weights, _turned(values)))
                return move(matmul(node.name, node.path, row, column),
                            lambda x: x.reshape(node.shape))
    return None


def move(node: Node, arrange: Callable[[np.ndarray], np.ndarray]) -> Node:
    """A node's values in another order or shape."""
    return add("function", node.name, node.path, [node], arrange)


def linear(name: str, path: str, x: Node, weight: Node, bias: Node | None = None) -> Node:
    """x @ weight.T + bias over the last axis; weight [outputs, inputs]."""
    if not weight.constant or not (bias is None or bias.constant):
        return matmul(name, path, x, move(weight, lambda w: np.swapaxes(w, -1, -2)), bias)
    matrix = weight.sample
    if matrix.ndim != 2:
        raise x.refuse(f"{name} has weights of shape {list(matrix.shape)}; expected a matrix")
    offset = np.zeros(len(matrix)) if bias is None else np.broadcast_to(bias.sample, len(matrix))
    return add("linear", name, path, [x, weight, *([bias] if bias else [])],
               lambda x, *_: x @ matrix.T + offset,
               {"weight": matrix, "bias": None if bias is None else offset})


def matmul(name: str, path: str, a: Node, b: Node, bias: Node | None = None) -> Node:
    """a @ b + bias over the last two axes."""
    if bias is not None:
        product = matmul(name, path, a, b)
        return add("function", name, path, [product, bias], np.add)
    if a.constant and not b.constant and _flat(a):  # a @ b = (b.T @ a.T).T
        turned = linear(name, path, _turned(b), _matrix(a))
        return _turned(turned)
    if b.constant and not a.constant and _flat(b):
        return linear(name, path, a, move(_matrix(b), np.transpose))
    return add("matmul", name, path, [a, b], np.matmul)


def _turned(node: Node) -> Node:
    return move(node, lambda x: np.swapaxes(x, -1, -2))


def _flat(node: Node) -> bool:
    """Whether it is one matrix: all axes in front are 1."""
    return int(np.prod(node.shape[:-2])) == 1


def _matrix(node: Node) -> Node:
    """A constant without axes of 1 in front."""
    return move(node, lambda x: x.reshape(x.shape[-2:]))


def einsum(name: str, path: str, equation: str, a: Node, b: Node) -> Node:
    """numpy.einsum of two operands, as a matmul between moves."""
    operands, _, out = equation.replace(" ", "").partition("->")
    of_a, _, of_b = operands.partition(",")
    whole = add("einsum", name, path, [a, b], lambda x, y: np.einsum(equation, x, y))
    if whole.constant:
        return whole
    if not out or "." in equation or any(len(set(part)) < len(part) for part in (of_a, of_b)):
        raise whole.refuse(f"the einsum {equation} is not supported; write it with matmul")
    if any(letter not in out and letter not in other
           for part, other in ((of_a, of_b), (of_b, of_a)) for letter in part):
        raise whole.refuse(f"the einsum {equation} sums over one operand; write it with sum")
    size = dict(zip(of_a, a.shape, strict=True)) | dict(zip(of_b, b.shape, strict=True))
    both = [x for x in of_a if x in of_b]
    batch, inner = [x for x in both if x in out], [x for x in both if x not in out]
    if (a.constant or b.constant) and all(size[x] == 1 for x in batch):
        batch, ones = [], batch  # an axis of 1 of the weights is none
        of_constant = of_a if a.constant else of_b
        of_constant = "".join(x for x in of_constant if x not in ones)
        of_a, of_b = (of_constant, of_b) if a.constant else (of_a, of_constant)
    left = [x for x in of_a if x not in (*batch, *inner)]
    right = [x for x in of_b if x not in (*batch, *inner)]

    def arranged(node: Node, letters: str, *groups: list[str]) -> Node:
        order = [letters.index(x) for group in groups for x in group]
        shape = [size[x] for x in batch]
        shape += [int(np.prod([size[x] for x in group])) for group in groups[1:]]
        return move(node, lambda x: x.reshape([size[i] for i in letters]).transpose(order)
                    .reshape(shape))

    product = matmul(name, path, arranged(a, of_a, batch, left, inner),
                     arranged(b, of_b, batch, inner, right))
    letters = [*batch, *left, *right]
    shape, order = [size[x] for x in letters], [letters.index(x) for x in out]
    return move(product, lambda x: x.reshape(shape).transpose(order))


def conv1d(
    name: str, path: str, x: Node, weight: Node, bias: Node | None, stride: int,
    padding: tuple[int, int], dilation: int, groups: int,
) -> Node:
    """Convolution of [1, channels, length] with weight [filters, channels/groups, kernel_size].

    Args:
        padding: zeros in front and behind.
    """
    inputs = [x, weight, *([bias] if bias else [])]
    if not all(each.constant for each in inputs[1:]):
        raise x.refuse(f"the weights of {name} depend on the input")
    if groups not in (1, x.shape[1]):
        weight, groups = _ungrouped(weight, groups), 1
        inputs[1] = weight
    _, channels, size = weight.shape
    if (size, stride, padding, groups) == (1, 1, (0, 0), 1) and channels > 1:  # a token for a token
        return _turned(linear(name, path, _turned(x), move(weight, lambda w: w[..., 0]), bias))

    def compute(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        x = np.pad(x, [*[(0, 0)] * (x.ndim - 1), padding])
        reach = dilation * (w.shape[2] - 1) + 1
        seen = np.lib.stride_tricks.sliding_window_view(x, reach, -1)[..., ::stride, ::dilation]
        seen = seen.reshape(*x.shape[:-2], groups, w.shape[1], *seen.shape[-2:])
        out = np.einsum("...gcpk,gfck->...gfp", seen, w.reshape(groups, -1, *w.shape[1:]))
        out = np.asarray(out).reshape(*x.shape[:-2], len(w), -1)
        return out if b is None else out + b[:, None]

    return add("conv1d", name, path, inputs, compute, {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "weight": weight.sample, "bias": bias.sample if bias else None})


def conv(
    name: str, path: str, x: Node, weight: Node, bias: Node | None, strides: Sequence[int],
    padding: Sequence[tuple[int, int]], dilations: Sequence[int], groups: int,
) -> Node:
    """conv1d of x [1, channels, *axes]; a kernel that is as long as an axis makes channels of it.

    Raises:
        ModelError: it slides along two axes with a dilation, or along more.
    """
    axes, sizes = x.shape[2:], weight.shape[2:]
    if len(axes) > 1 and set(sizes) == set(strides) == {1} and groups == 1 and (
            {*map(tuple, padding)} == {(0, 0)}):  # a value for a value
        values = move(x, lambda x: np.moveaxis(x, 1, -1))
        out = linear(name, path, values, move(weight, lambda w: w.reshape(w.shape[:2])), bias)
        return move(out, lambda y: np.moveaxis(y, -1, 1))
    long = [i for i, (n, size, pads) in enumerate(zip(axes, sizes, padding, strict=True))
            if n != size or pads != (0, 0) or (n > 1 and groups > 1)] or [len(axes) - 1]
    if len(long) == len(axes) == 2 and {*dilations} == {1}:
        return conv2d(name, path, x, _ungrouped(weight, groups), bias, strides, padding)
    if len(long) != 1:
        raise x.refuse(f"{name} is a convolution over {len(long)} axes; over "
                       "one it is known, and over two without a dilation")
    along, = long
    one = strides[along], padding[along], dilations[along], groups
    if len(axes) == 1:
        return conv1d(name, path, x, weight, bias, *one)

    def flat(values: np.ndarray) -> np.ndarray:
        n = values.shape[2 + along]
        return np.moveaxis(values, 2 + along, -1).reshape(len(values), -1, n)

    out = conv1d(name, path, move(x, flat), move(weight, flat), bias, *one)
    positions = [out.shape[2] if i == along else 1 for i in range(len(axes))]
    return move(out, lambda y: y.reshape(*y.shape[:2], *positions))


def conv2d(
    name: str, path: str, x: Node, weight: Node, bias: Node | None, strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Node:
    """Convolution of [1, channels, height, width] with weight [filters, channels, *kernel_size]."""
    inputs = [x, weight, *([bias] if bias else [])]
    if not all(each.constant for each in inputs[1:]):
        raise x.refuse(f"the weights of {name} depend on the input")

    def compute(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        x = np.pad(x, [(0, 0), (0, 0), *padding])
        seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
        seen = seen[:, :, :: strides[0], :: strides[1]]
        out = np.asarray(np.einsum("nchwij,fcij->nfhw", seen, w))
        return out if b is None else out + b[:, None, None]

    return add("conv2d", name, path, inputs, compute, {
        "strides": strides, "padding": padding, "weight": weight.sample,
        "bias": bias.sample if bias else None})


def max_pool(
    name: str, path: str, x: Node, kernel: Sequence[int], strides: Sequence[int],
    padding: Sequence[int], shape: Sequence[int],
) -> Node:
    """The largest values of x [1, channels, *axes] in windows.

    Args:
        kernel, strides: of the windows, along each axis.
        padding: how far in front of the values they begin.
        shape: how many windows there are.
    """
    def compute(x: np.ndarray) -> np.ndarray:
        for i, (size, stride, before, n) in enumerate(zip(kernel, strides, padding, shape,
                                                          strict=True)):
            x = np.moveaxis(x, 2 + i, 0)
            seen = (slice(max(0, p * stride - before), p * stride - before + size)
                    for p in range(n))
            x = np.moveaxis(np.stack([x[part].max(axis=0) for part in seen]), 0, 2 + i)
        return x

    return add("max_pool", name, path, [x], compute, {
        "windows": list(zip(kernel, strides, padding, shape, strict=True))})


def mean_pool(
    name: str, path: str, x: Node, kernel: Sequence[int], strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Node:
    """The means of windows of x [1, channels, *axes], with the zeros of the padding."""
    if tuple(kernel) == x.shape[2:] and not any(map(any, padding)):
        axes = tuple(range(2, len(x.shape)))
        return add("function", name, path, [x], lambda x: x.mean(axis=axes, keepdims=True))
    channels = x.shape[1]
    weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel))
    return conv(name, path, x, constant(name, weight), None, strides, padding, [1] * len(kernel),
                channels)


def _ungrouped(weight: Node, groups: int) -> Node:
    """weight [filters, channels / groups, ...] of all channels, with zeros for those of others."""
    def whole(w: np.ndarray) -> np.ndarray:
        each, n = len(w) // groups, w.shape[1]
        out = np.zeros((len(w), n * groups, *w.shape[2:]))
        for i in range(groups):
            own = slice(i * each, (i + 1) * each)
            out[own, i * n : (i + 1) * n] = w[own]
        return out

    return move(weight, whole)


def concat(name: str, path: str, inputs: Sequence[Node], axis: int) -> Node:
    """Several one after another along an axis."""
    return add("concat", name, path, inputs, lambda *x: np.concatenate(x, axis), {"axis": axis})


def group_norm(
    name: str, path: str, x: Node, groups: int, weight: Node | None, bias: Node | None, eps: float,
) -> Node:
    """x [1, channels, *axes] without the mean and over the spread of each group of channels, then
    times weight and plus bias [channels]."""
    def normalize(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        out: np.ndarray = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        return out

    shape = x.shape
    rows = move(x, lambda x: x.reshape(groups, -1))
    normal = add("function", name, path, [rows], normalize, numbers=[eps])
    out = move(normal, lambda x: x.reshape(shape))
    for part, form in ((weight, np.multiply), (bias, np.add)):
        if part is not None:
            whole = move(part, lambda p: p.reshape(-1, *[1] * (len(shape) - 2)))
            out = add("function", name, path, [out, whole], form)
    return out


def argmax(name: str, path: str, x: Node, axis: int | None, keep: bool) -> Node:
    """Where the largest value along an axis is, or among all."""
    return add("argmax", name, path, [x], lambda x: np.argmax(x, axis, keepdims=keep))


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(x) over its sum along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    out: np.ndarray = e / e.sum(axis=axis, keepdims=True)
    return out


def attention(
    name: str, path: str, q: Node, k: Node, v: Node, mask: Node | None, causal: bool, scale: float,
) -> Node:
    """softmax(q @ k.T * scale + mask) @ v; [..., tokens, head_dim] each.

    Args:
        mask: what is added to the scores, or bool: True where a key is seen.
        causal: whether a token sees only itself and those before it.
    """
    scores = matmul(name, path, q, _turned(k))
    scores = add("function", name, path, [scores], lambda x: x * scale)
    if causal:
        seen = np.tri(scores.shape[-2], scores.shape[-1]) > 0
        scores = add("function", name, path, [scores], lambda x: np.where(seen, x, -np.inf))
    if mask is not None:
        scores = add("function", name, path, [scores, mask], lambda x, m: np.where(m, x, -np.inf)
                     if m.dtype == bool else x + m)
    return matmul(name, path, add("function", name, path, [scores], softmax), v)
