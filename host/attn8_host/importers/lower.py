"""From the graph to the layers of a float model file.

Each value is a View: a layer's result, read in some order. So permutes, reshapes and slices are
indices, whatever they are made of; only where a layer needs another order is one put in between
(transpose, select). Factors and offsets wait in a View until a layer takes them into its weights.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import cores, layers
from ..errors import ModelError
from ..masks import Mask
from .attend import Scores, scores_of
from .graph import Node

OWNED = ("weight", "bias", "in_proj_weight", "in_proj_bias", "running_mean", "running_var")
ANONYMOUS = re.compile("::|^val_[0-9]+$")  # names that exporters give
ATTENTION = ("attention", "cross_attention")
FOLDING = ("dense", "conv1d", "layer_norm", *ATTENTION)  # take factor and offset of a channel


@dataclass(eq=False)
class Made:
    """A layer that is made: its entry but for the names, and its tensors.

    Attributes:
        node: whose value it gives.
        type, name: as in the config; the name may be taken, and "" is that of its tensors.
        inputs: the layers that it takes; those of the graph's input have none.
        rows, columns: of what it gives.
        fields, tensors: of the entry.
        sources: names of the original's tensors in it.
    """

    node: Node
    type: str
    name: str
    inputs: Sequence["Made"]
    rows: int
    columns: int
    fields: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class View:
    """base's values [index], times factor, plus offset; -1 where there is a 0.

    All arrays have the shape of the value; factor and offset None where they are 1 and 0.
    """

    base: Made
    index: np.ndarray
    factor: np.ndarray | None = None
    offset: np.ndarray | None = None
    sources: frozenset[str] = frozenset()  # of factor and offset

    @property
    def plain(self) -> bool:
        return self.factor is None

    @property
    def ordered(self) -> bool:
        """Whether it is all of the base as it is."""
        return np.array_equal(self.index.ravel(), np.arange(self.base.size))

    @property
    def whole(self) -> bool:
        """Whether it is all of the base, in any order."""
        return np.array_equal(np.sort(self.index, axis=None), np.arange(self.base.size))

    def __getitem__(self, arrange: Callable[[np.ndarray], np.ndarray]) -> "View":
        """The same in another arrangement."""
        factor, offset = (part if part is None else arrange(part)
                          for part in (self.factor, self.offset))
        return View(self.base, arrange(self.index), factor, offset, self.sources)


@dataclass(frozen=True)
class Projection:
    """weight @ x + bias of each row of a layer: what queries, keys or values may be.

    name: of the layer with these tensors.
    """

    base: Made
    weight: np.ndarray
    bias: np.ndarray
    sources: frozenset[str] = frozenset()
    name: str = ""


class Lowering:
    """The layers that give nodes' values; `entries` has them once they are all made."""

    def __init__(self, outputs: Sequence[Node], core: str = "exact"):
        self.core = core
        self.made: list[Made] = []
        self._views: dict[Node, View] = {}
        self._found: dict[Node, Scores] = {}
        self._outputs = outputs
        self._last = [self.ordered(self.plain(self.view(output), output), output)
                      for output in outputs]
        for last, output in zip(self._last, outputs, strict=True):
            if last.type == "input":
                raise output.refuse("it is the input itself; there is no layer in it")
        taken = {made for each in self._needed() for made in each.inputs}
        for last in self._last:
            if last.type == "dense" and last not in taken:
                last.fields["output"] = "int32"
        self._names: dict[Made, str] = {}

    def _needed(self) -> set[Made]:
        """The layers that the outputs need."""
        needed: set[Made] = set()
        todo = list(self._last)
        while todo:
            made = todo.pop()
            if made not in needed:
                needed.add(made)
                todo += made.inputs
        return needed

    def names(self) -> list[str]:
        """Of the layers that give the outputs, after `entries`."""
        return [self._names[made] for made in self._last]

    @cached_property
    def _readers(self) -> dict[Node, set[Node]]:
        """Of each node that the outputs need, the nodes that read it, but for moves."""
        found: dict[Node, set[Node]] = {output: {output} for output in self._outputs}
        seen, todo = set(), list(self._outputs)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            for each in node.variable:
                todo.append(each)
                reader, each = node, each
                while each.op == "move":
                    each = each.inputs[0]
                if node.op != "move":
                    found.setdefault(each, set()).add(reader)
        for output in self._outputs:
            end = output
            while end.op == "move":
                end = end.inputs[0]
            found.setdefault(end, set()).add(output)
        return found

    def _readers_of(self, node: Node) -> set[Node]:
        return self._readers.get(node, set())

    def view(self, node: Node) -> View:
        """A node's value."""
        todo = [node]
        while todo:  # inputs first: a model may be deeper than Python's stack
            last = todo[-1]
            waiting = [] if last in self._views else [
                each for each in self._needs(last) if each not in self._views]
            todo += waiting
            if not waiting:
                todo.pop()
                if last not in self._views:
                    self._views[last] = getattr(self, f"_{last.op}", self._function)(last)
        return self._views[node]

    def _scores(self, node: Node) -> Scores:
        if node not in self._found:
            self._found[node] = scores_of(node)
        return self._found[node]

    def _needs(self, node: Node) -> list[Node]:
        """The nodes whose views a node's is made of."""
        if node.op == "matmul":
            return [each for each in self._scores(node).operands if not each.constant]
        return node.variable

    def _make(
        self, node: Node, type: str, name: str, inputs: Sequence[Made], rows: int, columns: int,
        fields: dict[str, Any] | None = None, tensors: dict[str, np.ndarray] | None = None,
        sources: frozenset[str] = frozenset(),
    ) -> Made:
        """A new layer."""
        try:
            layers.get(type)
        except ModelError as error:
            raise node.refuse(str(error)) from None
        made = Made(node, type, name, inputs, rows, columns, fields or {}, tensors or {},
                    sources)
        self.made.append(made)
        return made

    # What a View becomes where a layer needs more than its index

    def plain(self, view: View, node: Node) -> View:
        """The view without factor and offset: a layer takes them, or is made for them."""
        if view.factor is None or view.offset is None:
            return view
        if not view.whole:
            base = self.ordered(View(view.base, view.index), node)
            view = replace(view, base=base, index=np.arange(base.size).reshape(view.index.shape))
        folded = self._folded(view, node)
        if folded:
            return folded
        base = view.base
        factor, offset = self._in_base(view)
        name = self._named(None, view.sources) or node.path
        if (factor == 1).all():
            made = self._make(node, "position", name, [base], base.rows, base.columns,
                              {"seq_len": base.rows, "embed_dim": base.columns},
                              {"weight": offset}, view.sources)
            return View(made, view.index)
        if (factor == factor[0]).all() and (offset == offset[0]).all():
            n = base.columns  # a convolution of each channel with a kernel of 1
            depthwise = {"channels": n, "groups": n} if n > 1 else {}
            made = self._make(node, "conv1d", name, [base], base.rows, n,
                              {"length": base.rows, "kernel_size": 1, "stride": 1, "filters": n,
                               **depthwise},
                              {"weight": factor[0].reshape(n, 1, 1) if n > 1 else
                               factor[0].reshape(1, 1), "bias": offset[0]}, view.sources)
            return View(made, view.index)
        if (factor == factor[:, :1]).all() and (offset == offset[:, :1]).all() and base.rows > 1:
            order = np.arange(base.size).reshape(base.rows, base.columns)
            turned = self.ordered(View(base, order.T), node)
            place = np.empty(base.size, np.int64)
            place[order.T.ravel()] = np.arange(base.size)
            return self.plain(replace(view, base=turned, index=place[view.index]), node)
        if view.index.ndim > 2 and base.columns != view.index.shape[1]:
            channels = view[_channels_last]
            rows = [part.reshape(-1, view.index.shape[1]) for part in (channels.factor,
                                                                       channels.offset)
                    if part is not None]
            if all((part == part[0]).all() for part in rows):  # of each channel, in another order
                turned = self.ordered(View(base, channels.index), node)
                places = np.arange(turned.size).reshape(channels.index.shape)
                if turned.columns == view.index.shape[1]:
                    return self.plain(replace(view, base=turned,
                                              index=np.moveaxis(places, -1, 1)), node)
        if offset.any() and (factor != 1).any():  # by a layer for each
            one, zero = np.ones(view.index.shape), np.zeros(view.index.shape)
            scaled = self.plain(replace(view, offset=zero), node)
            return self.plain(View(scaled.base, scaled.index, one, view.offset, view.sources), node)
        raise node.refuse("each value has another factor; no layer has that")

    def _in_base(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Factor and offset [rows, columns] in the order of the base, of a whole view."""
        found = []
        for part in (view.factor, view.offset):
            assert part is not None
            values = np.empty(view.base.size)
            values[view.index.ravel()] = part.ravel()
            found.append(values.reshape(view.base.rows, view.base.columns))
        return found[0], found[1]

    def _folded(self, view: View, node: Node) -> View | None:
        """The view with factor and offset in the weights of its base, where that is possible."""
        base = view.base
        if base.type not in FOLDING or not view.whole or len(self._readers_of(base.node)) > 1:
            return None
        factor, offset = self._in_base(view)
        if (factor != factor[0]).any() or (offset != offset[0]).any():
            return None
        prefix = "out." if base.type in ATTENTION else ""
        weight, bias = base.tensors[f"{prefix}weight"], base.tensors[f"{prefix}bias"]
        scale = factor[0].reshape(-1, *[1] * (weight.ndim - 1))
        base.tensors[f"{prefix}weight"] = weight * scale
        base.tensors[f"{prefix}bias"] = bias * factor[0] + offset[0]
        base.sources |= view.sources
        base.node = node
        return View(base, view.index)

    def ordered(self, view: View, node: Node) -> Made:
        """A layer whose result is the values of a plain view, as they are."""
        base, index = view.base, view.index.ravel()
        if view.ordered:
            return base
        n = len(index)
        if n < base.size and base.size % n == 0 and index[0] % n == 0 and (
                index == index[0] + np.arange(n)).all():
            rows = base.size // n
            at = int(index[0]) // n
            return self._make(node, "select", f"{node.path}.select", [base], 1, n,
                              {"seq_len": rows, "embed_dim": n,
                               "index": -1 if at == rows - 1 else at})
        part = self._sliced(base, index, node)
        if part:
            return part
        columns = int(index[1]) if n == base.size else 0  # of the base: its second row comes next
        if columns > 1 and n % columns == 0 and (
                index == np.arange(n).reshape(-1, columns).T.ravel()).all():
            return self._make(node, "transpose", f"{node.path}.transpose", [base], columns,
                              n // columns, {"rows": n // columns, "columns": columns})
        if n % base.rows == 0 and index.min() >= 0:
            order = index[:n // base.rows]
            if (index.reshape(base.rows, -1) == order + base.columns * np.arange(base.rows)[:, None]
                    ).all() and order.max() < base.columns:
                return self._picked(base, order, node)
        raise node.refuse(f"takes the values of {base.node.name} {list(base.node.shape)} in an "
                          "order, or a part of them, that no layer gives; tokens at even "
                          "distances (select, slice) and a transpose are there")

    def _unordered(self, view: View, node: Node) -> View:
        """The values of a plain view as all of a layer, in whichever order that has them."""
        if view.whole:
            return view
        kept, index = np.unique(view.index, return_inverse=True)
        if len(kept) < view.index.size:  # some of them twice
            kept, index = view.index.ravel(), np.arange(view.index.size)
        return View(self.ordered(View(view.base, kept), node), index.reshape(view.index.shape))

    def _sliced(self, base: Made, index: np.ndarray, node: Node) -> Made | None:
        """Some tokens, at even distances."""
        if len(index) % base.columns or not len(index) < base.size:
            return None
        rows = index.reshape(-1, base.columns)
        first = rows[:, 0] // base.columns
        step = int(first[1] - first[0]) if len(first) > 1 else 1
        wanted = first[0] + step * np.arange(len(first))
        if step < 1 or (rows != wanted[:, None] * base.columns + np.arange(base.columns)).any():
            return None
        fields = {"seq_len": base.rows, "embed_dim": base.columns, "start": int(first[0]),
                  "rows": len(first), **({"step": step} if step > 1 else {})}
        return self._make(node, "slice", f"{node.path}.slice", [base], len(first), base.columns,
                          fields)

    def _picked(self, base: Made, order: np.ndarray, node: Node) -> Made:
        """Some columns of each row: some outputs of its weights, else by zeros and ones."""
        outputs = {"dense": "out_features", "conv1d": "filters"}.get(base.type)
        if outputs and base.fields.get("groups", 1) == 1:
            parts = {part: values[order] for part, values in base.tensors.items()}
            return self._make(node, base.type, "", base.inputs, base.rows, len(order),
                              {**base.fields, outputs: len(order)}, parts, base.sources)
        matrix = np.eye(base.columns)[order]
        if self._open(base) and len(order) == base.columns == base.fields["embed_dim"]:
            base.tensors["out.weight"] = matrix
            base.fields["open"] = False
            return base
        rows = {"rows": base.rows} if base.rows > 1 else {}
        return self._make(node, "dense", f"{node.path}.pick", [base], base.rows, len(order),
                          {**rows, "in_features": base.columns, "out_features": len(order)},
                          {"weight": matrix, "bias": np.zeros(len(order))})

    def _open(self, base: Made) -> bool:
        """Whether it is an attention that still takes a projection behind."""
        return (base.type in ATTENTION and base.fields["open"]
                and len(self._readers_of(base.node)) == 1)

    def _rows(self, view: View, n: int, node: Node) -> tuple[View, np.ndarray, np.ndarray, int]:
        """The view as rows of n values, all from one row of the base: (view, rows, order, width).

        rows: of the base, all of them, in the view's order. order: where in a row of the base the n
        values are, the same in each. width: of a row of the base, n or its columns.
        """
        def found(view: View) -> tuple[View, np.ndarray, np.ndarray, int] | None:
            index = view.index.reshape(-1, n)
            for width in (n, view.base.columns):
                rows, order = index[:, 0] // width, index[0] % width
                if (index.min() >= 0 and (index // width == rows[:, None]).all()
                        and (index % width == order).all()
                        and np.array_equal(np.sort(rows) * width,
                                           np.arange(0, view.base.size, width))):
                    return view, rows, order, width
            return None

        base = view.base
        if view.whole and not found(view):  # patches of a signal whose channels come first
            place = np.arange(base.size).reshape(base.columns, base.rows).T.ravel()
            if found(replace(view, index=place[view.index])):
                order = np.arange(base.size).reshape(base.rows, base.columns)
                view = replace(view, base=self.ordered(View(base, order.T), node),
                               index=place[view.index])
        if not found(view):
            base = self.ordered(self.plain(view, node), node)
            view = View(base, np.arange(base.size).reshape(view.index.shape))
        rows = found(view)
        assert rows, "an ordered view consists of rows"
        return rows

    # One method an op

    def _input(self, node: Node) -> View:
        shape = [n for n in node.shape if n > 1] or [1]
        base = Made(node, "input", "input", (), int(np.prod(shape[:-1], dtype=int)), shape[-1])
        return View(base, np.arange(base.size).reshape(node.shape))

    def _constant(self, node: Node) -> View:
        raise node.refuse("does not depend on the input")

    def _function(self, node: Node) -> View:
        raise node.refuse("is not recognized as a layer; see docs/import.md for those that are")

    def _move(self, node: Node) -> View:
        index = node.fields["index"]
        source = self.view(node.inputs[0])

        def arrange(part: np.ndarray) -> np.ndarray:
            out: np.ndarray = np.append(part.ravel(), [part.dtype.type(0)])[index]
            return out

        if (index < 0).any():
            if not source.plain:
                source = self.plain(source, node)
            return View(source.base, np.append(source.index.ravel(), -1)[index])
        return source[arrange]

    def _affine(self, node: Node) -> View:
        source = self.view(node.inputs[0])
        factor, offset = node.fields["factor"], node.fields["offset"]
        if not np.isfinite(offset).all():
            raise node.refuse("adds infinities outside of an attention")
        if (source.index < 0).any():
            source = View(self.ordered(source, node), source.index)
        if source.factor is not None and source.offset is not None:
            offset = source.offset * factor + offset
            factor = source.factor * factor
        view = View(source.base, source.index, factor, offset,
                    source.sources | node.sources)
        if (factor == 1).all() and (offset == 0).all() and view.base.type != "input":
            view.base.sources |= view.sources
            return View(view.base, view.index)
        folded = self._folded(view, node)
        if folded:
            return folded
        readers = self._readers_of(node)
        if len(readers) == 1 and next(iter(readers)).op in (
                "affine", "linear", "conv1d", "conv2d", "matmul", "embedding"):
            return view
        return self.plain(view, node)

    def _pointwise(self, node: Node) -> View:
        view = self._unordered(self.plain(self.view(node.inputs[0]), node), node)
        name = node.fields.get("function", node.op)
        made = self._make(node, node.op, f"{node.path}.{name}", [view.base], view.base.rows,
                          view.base.columns, dict(node.fields), sources=node.sources)
        return View(made, view.index)

    _relu = _silu = _sigmoid = _tanh = _gelu = _activation = _pointwise

    def _norm(self, node: Node) -> View:
        n = node.shape[-1]
        view = self.plain(self.view(node.inputs[0]), node)
        view, rows, order, width = self._rows(view, n, node)
        if width != n or len(set(order)) < n:
            base = self.ordered(view, node)
            view = View(base, np.arange(base.size).reshape(node.shape))
            order = np.arange(n)
        parts: dict[str, np.ndarray] = {}
        for part in ("weight", "bias") if node.op == "layer_norm" else ("weight",):
            parts[part] = np.empty(n)
            parts[part][order] = node.fields[part]
        made = self._make(node, node.op, "", [view.base], len(rows),
                          n, {"features": n, "eps": float(node.fields["eps"])}, parts, node.sources)
        return View(made, view.index)

    _layer_norm = _rms_norm = _norm

    def _binary(self, node: Node) -> View:
        views = []
        for each in node.inputs:
            views.append(self._unordered(self.plain(self.view(each), node), node))
        first, second = views
        if not np.array_equal(first.index, second.index):
            place = np.argsort(first.index.ravel())
            turned = View(second.base, second.index.ravel()[place])
            second = View(self.ordered(turned, node), first.index)
        rows, columns = first.base.rows, first.base.columns
        made = self._make(node, node.op, f"{node.path}.{node.op}", [first.base, second.base],
                          rows, columns, sources=node.sources)
        return View(made, first.index)

    _add = _multiply = _binary

    def _softmax(self, node: Node) -> View:
        if node.fields["axis"] != len(node.shape) - 1 or not (
                self._readers_of(node) <= set(self._outputs)):
            raise node.refuse("a softmax outside of an attention is only known over the last axis, "
                              "at the end")
        n = node.shape[-1]
        view = self.plain(self.view(node.inputs[0]), node)
        base = self.ordered(view, node)
        made = self._make(node, "softmax", f"{node.path}.softmax", [base], base.size // n, n,
                          {"rows": base.size // n, "columns": n}, sources=node.sources)
        return View(made, np.arange(base.size).reshape(node.shape))

    def _decision(self, node: Node) -> View:
        raise node.refuse(f"{node.op} is only known at the end, where the model gives the logits")

    _log_softmax = _argmax = _decision

    def _reduced(self, node: Node) -> tuple[Made, int, int]:
        """What a node takes over its axes, as rows: (layer, rows, columns)."""
        view = self.plain(self.view(node.inputs[0]), node)
        axes = node.fields["axes"]
        count = int(np.prod([view.index.shape[i] for i in axes]))
        index = np.moveaxis(view.index, axes, range(len(axes))).reshape(count, -1)
        return self.ordered(View(view.base, index), node), count, index.shape[1]

    def _max(self, node: Node) -> View:
        base, count, width = self._reduced(node)
        made = self._make(node, "max_pool", f"{node.path}.max_pool", [base], 1, width,
                          {"length": count, "channels": width, "kernel_size": count,
                           "stride": count, "positions": 1}, sources=node.sources)
        return View(made, np.arange(width).reshape(node.shape))

    def _max_pool(self, node: Node) -> View:
        view = self.plain(self.view(node.inputs[0]), node)
        base = self.ordered(view[_channels_last], node)
        sizes = list(_channels_last(view.index).shape[1:])
        for i, (kernel, stride, padding, positions) in enumerate(node.fields["windows"]):
            if kernel == 1 and positions == sizes[i]:
                continue
            rows, channels = (int(np.prod(part)) for part in (sizes[:i], sizes[i + 1:]))
            fields = {"length": sizes[i], "channels": channels, "kernel_size": kernel,
                      "stride": stride, "positions": positions}
            fields |= {key: value for key, value, usual in (("padding", padding, 0),
                                                            ("rows", rows, 1)) if value != usual}
            sizes[i] = positions
            base = self._make(node, "max_pool", f"{node.path}.max_pool", [base],
                              int(np.prod(sizes[:-1])), sizes[-1], fields, sources=node.sources)
        index = np.arange(base.size).reshape(1, *sizes)
        return View(base, np.moveaxis(index, -1, 1))

    def _mean(self, node: Node) -> View:
        base, count, width = self._reduced(node)
        made = self._make(node, "mean_pool", f"{node.path}.mean_pool", [base], 1, width,
                          {"seq_len": count, "embed_dim": width}, sources=node.sources)
        index = np.arange(width).reshape(node.shape)
        factor = node.fields["factor"]
        if factor == 1:
            return View(made, index)
        return View(made, index, np.full(index.shape, factor), np.zeros(index.shape))

    def _concat(self, node: Node) -> View:
        axis = node.fields["axis"] % len(node.shape)
        tokens = [each for each in node.inputs if each.constant]
        values = node.variable
        if not tokens:
            return self._joined(node, axis)
        n = int(np.prod(node.shape[axis + 1:]))
        if int(np.prod(node.shape[:axis])) != 1:
            raise node.refuse("of constants only tokens can be concatenated")
        if len(values) != 1 or list(node.inputs) != [*tokens, *values]:
            return self._joined(node, axis)
        view = self.plain(self.view(values[0]), node)
        base = self.ordered(view, node)
        for token in reversed(tokens):
            for row in reversed(token.sample.reshape(-1, n)):
                rows = base.size // n
                name = self._named(None, token.sources) or node.path
                base = self._make(node, "class_token", name, [base], rows + 1, n,
                                  {"seq_len": rows, "embed_dim": n}, {"weight": row},
                                  token.sources)
        return View(base, np.arange(base.size).reshape(node.shape))

    def _joined(self, node: Node, axis: int) -> View:
        """Several layers' results, tokens behind tokens or features behind features."""
        memory = self.view(node.variable[0]).base

        def given(each: Node) -> View:
            if not each.constant:
                return self.plain(self.view(each), node)
            columns = int(np.prod(each.shape[axis + 1:]))
            tokens = Made(each, "constant", "", (), each.sample.size // columns, columns,
                          {"values": each.sample.ravel()}, {}, each.sources)
            return View(self._constants(tokens, memory, node),
                        np.arange(tokens.size).reshape(each.shape))

        views = [given(each) for each in node.inputs]

        def last(part: np.ndarray) -> np.ndarray:
            return np.moveaxis(part, axis, -1)

        # Channels come first in a convolution's results, but last in the layer's
        turned = all(view[last].ordered for view in views)
        if turned:
            views = [view[last] for view in views]
        at = len(node.shape) - 1 if turned else axis
        rows = int(np.prod(views[0].index.shape[:at]))
        parts = [self.ordered(view, node) for view in views]
        size = sum(part.size for part in parts)
        columns = size // rows if rows > 1 else int(np.prod(views[0].index.shape[at + 1:]))
        base = self._make(node, "concat", f"{node.path}.concat", parts, size // columns, columns,
                          {"rows": rows})
        if turned:
            shape = last(np.empty(node.shape, bool)).shape
            index = np.arange(base.size).reshape(shape)
            return View(base, np.moveaxis(index, -1, axis))
        return View(base, np.arange(base.size).reshape(node.shape))

    def _embedding(self, node: Node) -> View:
        table, ids = node.inputs
        view = self.view(ids)
        changed = view.factor is not None and view.offset is not None and (
            (view.factor != 1).any() or (view.offset != 0).any())
        if view.base.type != "input" or not view.ordered or changed:
            raise node.refuse("an embedding of anything but all token ids of the input")
        vocabulary, width = table.shape
        n = view.index.size
        made = self._make(node, "embedding", "", [view.base], n, width,
                          {"seq_len": n, "vocab_size": vocabulary, "embed_dim": width},
                          {"weight": table.sample}, node.sources | view.sources)
        return View(made, np.arange(made.size).reshape(node.shape))

    def _linear(self, node: Node) -> View:
        weight = node.fields["weight"]
        outputs, n = weight.shape
        bias = node.fields["bias"]
        view, rows, order, width = self._rows(self.view(node.inputs[0]), n, node)
        sources = node.sources | view.sources
        if view.factor is not None and view.offset is not None:
            factor, offset = view.factor.reshape(-1, n), view.offset.reshape(-1, n)
            if (factor == factor[0]).all() and (offset == offset[0]).all():
                bias = weight @ offset[0] + (0 if bias is None else bias)
                weight = weight * factor[0]
            else:
                sources = node.sources
                view, rows, order, width = self._rows(self.plain(view, node), n, node)
        matrix = weight  # no copy of what is large
        if width != n or (order != np.arange(n)).any():
            matrix = np.zeros((outputs, width))
            np.add.at(matrix.T, order, weight.T)
        bias = np.zeros(outputs) if bias is None else bias
        base = view.base
        index = (rows[:, None] * outputs + np.arange(outputs)).reshape(node.shape)
        if self._open(base) and (width, outputs) == (base.columns, base.fields["embed_dim"]):
            base.columns = outputs
            base.tensors |= {"out.weight": matrix, "out.bias": bias}
            base.fields["open"] = False
            base.node, base.sources = node, base.sources | sources
            return View(base, index)
        fields = {"in_features": width, "out_features": outputs}
        if len(rows) > 1:
            fields = {"rows": len(rows), **fields}
        made = self._make(node, "dense", "", [base], len(rows),
                          outputs, fields, {"weight": matrix, "bias": bias}, sources)
        return View(made, index)

    def _conv1d(self, node: Node) -> View:
        fields = node.fields
        weight, bias = fields["weight"], fields["bias"]
        filters = len(weight)
        channels, length = node.inputs[0].shape[-2:]
        groups = fields["groups"]
        view = self.view(node.inputs[0])
        index = view.index.reshape(channels, length)
        # Zeros at the ends are its padding
        real = np.flatnonzero((index >= 0).all(axis=0))
        before, behind = fields["padding"]
        if len(real) and (index < 0).any():
            before, behind = before + int(real[0]), behind + length - 1 - int(real[-1])
            view = view[lambda part: part.reshape(channels, length)[:, real[0]:real[-1] + 1]]
            length = view.index.shape[1]
        sources = node.sources
        if view.factor is not None and view.offset is not None and groups == 1:
            factor, offset = (part.reshape(channels, length) for part in (view.factor, view.offset))
            if (factor == factor[:, :1]).all() and (offset == offset[:, :1]).all() and not (
                    before + behind and offset.any()):  # it pads with zeros
                bias = (weight * offset[:, :1]).sum(axis=(1, 2)) + (0 if bias is None else bias)
                weight = weight * factor[:, :1]
                sources, view = sources | view.sources, View(view.base, view.index)
        view = self.plain(view, node)
        base = self.ordered(view[lambda part: part.reshape(channels, length).T], node)
        more, dilation = abs(before - behind), fields["dilation"]
        if more % dilation:
            raise node.refuse(f"pads {before} in front and {behind} behind, which a dilation of "
                              f"{dilation} cannot make even")
        # Taps of 0 where the other end has more padding
        zeros = (0, more // dilation) if before > behind else (more // dilation, 0)
        weight = np.pad(weight, ((0, 0), (0, 0), zeros)).transpose(0, 2, 1)
        entry = {"length": length, "kernel_size": weight.shape[1], "stride": fields["stride"],
                 "filters": filters}
        for key, value, usual in (("channels", channels, 1), ("padding", max(before, behind), 0),
                                  ("dilation", dilation, 1), ("groups", groups, 1)):
            if value != usual:
                entry[key] = value
        if channels == 1:
            weight = weight[:, :, 0]
        positions = node.shape[-1]
        made = self._make(node, "conv1d", "", [base], positions,
                          filters, entry,
                          {"weight": weight, "bias": np.zeros(filters) if bias is None else bias},
                          sources)
        return View(made, np.arange(made.size).reshape(positions, filters).T.reshape(node.shape))

    def _conv2d(self, node: Node) -> View:
        fields, sources = node.fields, node.sources
        weight, bias = fields["weight"], fields["bias"]
        filters, channels, *kernel = weight.shape
        view = self.view(node.inputs[0])
        if view.factor is not None and view.offset is not None:
            factor, offset = (part.reshape(channels, -1) for part in (view.factor, view.offset))
            padded = any(map(any, fields["padding"]))
            if (factor == factor[:, :1]).all() and (offset == offset[:, :1]).all() and not (
                    padded and offset.any()):  # it pads with zeros
                more = (weight * offset[:, :1, None]).sum(axis=(1, 2, 3))
                bias = more + (0 if bias is None else bias)
                weight = weight * factor[:, :1, None]
                sources, view = sources | view.sources, View(view.base, view.index)
        view = self.plain(view, node)
        base = self.ordered(view[_channels_last], node)
        height, width = node.inputs[0].shape[2:]
        positions = list(node.shape[2:])
        rows, seen = int(np.prod(positions)), int(np.prod(kernel)) * channels
        windows = self._make(
            node, "unfold", f"{node.path}.unfold", [base], rows, seen,
            {"height": height, "width": width, "channels": channels, "kernel_size": kernel,
             "stride": list(fields["strides"]), "positions": positions,
             "padding": [before for before, _ in fields["padding"]]})
        counted = {"rows": rows} if rows > 1 else {}
        made = self._make(node, "dense", "", [windows], rows, filters,
                          {**counted, "in_features": seen, "out_features": filters},
                          {"weight": weight.transpose(0, 2, 3, 1).reshape(filters, seen),
                           "bias": np.zeros(filters) if bias is None else bias}, sources)
        index = np.arange(made.size).reshape(1, *positions, filters)
        return View(made, np.moveaxis(index, -1, 1))

    def _matmul(self, node: Node) -> View:
        return self._attention(node)

    def _attention(self, node: Node) -> View:
        """softmax(q @ k) @ v: projections from one layer, or queries from another one."""
        found = self._scores(node)
        q, k, v = (self._heads(self._operand(each), node, turned) for each, turned in
                   zip(found.operands, (False, True, False), strict=True))
        heads, n, keys = len(q.index), q.index.shape[1], k.index.shape[1]
        if len(k.index) != heads or len(v.index) != heads:
            raise node.refuse("queries, keys and values have different numbers of heads")
        if k.base is not v.base and k.base.rows == v.base.rows == keys:
            k, v = self._beside(k, v, node)
        chosen = self._chosen([self._projections(each) for each in (q, k, v)], n == keys, node)
        parts = {part: self._weights(view, option, node)
                 for part, view, option in zip("qkv", (q, k, v), chosen, strict=True)}
        source, memory = chosen[0].base, chosen[1].base
        if source.type == "constant":  # a layer needs something to come from
            source = self._constants(source, memory, node)
        kind = cores.get(self.core)
        if source is not memory and not kind.crosses:
            raise node.refuse(f"core {self.core} takes keys and values of its own sequence only; "
                              "take --core exact")
        inputs, widths = source.columns, {part: len(w[0]) for part, (w, _) in parts.items()}
        # Heads of any width, where what follows is the projection behind them
        behind = [each for each in self._readers_of(node) if each.op == "linear"
                  and each.fields["weight"].shape == (inputs, heads * widths["v"])]
        fits = len(self._readers_of(node)) == len(behind) == 1 or heads * widths["v"] == inputs
        if widths["k"] != widths["v"] and not kind.value_widths:
            fits = False
        embed = inputs if fits else -(-max(inputs, heads * max(widths.values())) // heads) * heads
        if not fits:  # of one width, that of a token
            widths = dict.fromkeys("qkv", embed // heads)
        tensors: dict[str, np.ndarray] = {}
        for part, (weight, bias) in parts.items():
            columns = embed if part == "q" or source is memory else memory.columns
            more = ((0, 0), (0, widths[part] - weight.shape[1]))
            weight = np.pad(weight, (*more, (0, columns - weight.shape[2])))
            bias = np.pad(bias, more)
            if part == "q":
                weight, bias = (x * found.scale * np.sqrt(widths["q"]) for x in (weight, bias))
            tensors[f"{part}.weight"] = weight.reshape(-1, columns)
            tensors[f"{part}.bias"] = bias.ravel()
        merged = heads * widths["v"]
        tensors |= {"out.weight": np.eye(embed, merged), "out.bias": np.zeros(embed)}
        sources = found.sources.union(*(option.sources for option in chosen),
                                      *(view.sources for view in (q, k, v)))
        name = node.path or _common([option.name for option in chosen if option.name])
        given = [source] if source is memory else [source, memory]
        if embed > inputs:  # tokens are padded with zeros
            given[0] = self._make(node, "dense", f"{name}.widen", [source],
                                  source.size // inputs, embed,
                                  {"rows": source.size // inputs, "in_features": inputs,
                                   "out_features": embed},
                                  {"weight": np.eye(embed, inputs), "bias": np.zeros(embed)})
        masked = self.core == "sparse"  # whose mask holds whatever the original's does
        if masked:
            bits = Mask.from_dense(found.seen).to_bits()
            tensors["core.mask"] = np.tile(bits.reshape(1, -1), (heads, 1))
        causal = not masked and found.causal(n)
        if kind.always_causal and not causal:
            raise node.refuse(f"core {self.core} is causal, which this attention is not; choose "
                              "another one")
        fields = {"seq_len": n, "embed_dim": embed, "num_heads": heads, "core": self.core,
                  "causal": causal}
        if fits and (heads * widths["k"], merged) != (embed, embed):
            fields |= {"key_dim": widths["k"], "value_dim": widths["v"]}
        if source is not memory:
            fields |= {"key_len": keys, "memory_dim": memory.columns}
        type = "attention" if source is memory else "cross_attention"
        made = self._make(node, type, name or type, given, n, merged, {**fields, "open": True},
                          tensors, sources)
        width = v.index.shape[2]
        index = np.arange(n * merged).reshape(n, heads, -1)[:, :, :width].transpose(1, 0, 2)
        return View(made, index.reshape(node.shape))

    def _operand(self, node: Node) -> View:
        """The view of queries, keys or values; of constant ones of a layer that is not made."""
        if not node.constant:
            return self.view(node)
        size = node.sample.size
        base = Made(node, "constant", "", (), size, 1, {}, {}, node.sources)
        return View(base, np.arange(size).reshape(node.shape))

    def _constants(self, base: Made, memory: Made, node: Node) -> Made:
        """Constant tokens, from a matrix of zeros and their values as its bias."""
        token = self._make(node, "select", f"{node.path}.token", [memory], 1, memory.columns,
                           {"seq_len": memory.rows, "embed_dim": memory.columns, "index": 0})
        return self._make(node, "dense", f"{node.path}.queries", [token], base.rows, base.columns,
                          {"in_features": memory.columns, "out_features": base.size},
                          {"weight": np.zeros((base.size, memory.columns)),
                           "bias": base.fields["values"]}, base.sources)

    def _beside(self, k: View, v: View, node: Node) -> tuple[View, View]:
        """Keys and values of different layers as features of one, where none has both already."""
        if any(one.base is other.base for one in self._projections(k)
               for other in self._projections(v)):
            return k, v
        rows, n, m = k.base.rows, k.base.columns, v.base.columns
        both = self._make(node, "concat", f"{node.path}.memory", [k.base, v.base], rows, n + m,
                          {"rows": rows})

        def placed(view: View, width: int, first: int) -> View:
            return replace(view, base=both,
                           index=view.index // width * (n + m) + view.index % width + first)

        return placed(k, n, 0), placed(v, m, n)

    @staticmethod
    def _chosen(
        options: "list[list[Projection]]", square: bool, node: Node
    ) -> "list[Projection]":
        """Of q, k and v one each: all of one layer where that is possible, else k and v."""
        def common(parts: "list[list[Projection]]") -> "list[Projection] | None":
            for first in parts[0]:
                found = [next((each for each in part if each.base is first.base), None)
                         for part in parts]
                if all(found):
                    return [each for each in found if each]
            return None

        found = common(options) if square else None
        if found:
            return found
        found = common(options[1:])
        if not found:
            raise node.refuse("keys and values come from different layers; make both of one, as "
                              "features of it")
        return [options[0][0], *found]

    @staticmethod
    def _heads(view: View, node: Node, turned: bool) -> View:
        """As [heads, tokens, head_dim]."""
        if turned:
            view = view[lambda part: part.swapaxes(-1, -2)]
        n, d = view.index.shape[-2:]
        return view[lambda part: part.reshape(-1, n, d)]

    def _projections(self, view: View) -> "list[Projection]":
        """What a view may be a projection of, the nearest first: of what a matrix takes, that
        perhaps comes from a matrix as well, or the identity."""
        base = view.base
        if base.type == "constant":
            heads, n, d = view.index.shape
            values = np.empty(view.index.size)
            values[view.index.ravel()] = base.node.sample.ravel()
            merged = values.reshape(heads, n, d).transpose(1, 0, 2).reshape(n, heads * d)
            if view.factor is not None and view.offset is not None:
                raise base.node.refuse("constant queries that are scaled later")
            made = Made(base.node, "constant", "", (), n, heads * d, {"values": merged.ravel()}, {},
                        base.sources)
            return [Projection(made, np.eye(heads * d), np.zeros(heads * d))]
        found = []
        weight, bias, sources = np.eye(base.columns), np.zeros(base.columns), frozenset[str]()
        name, last = "", base
        while last.type == "dense":
            bias = weight @ last.tensors["bias"] + bias
            weight, sources = weight @ last.tensors["weight"], sources | last.sources
            name = name or self._named(last.node, last.sources)
            last, rows = last.inputs[0], last.rows
            if (last.rows, last.columns) != (rows, weight.shape[1]):  # not a token for a token
                break
            found.append(Projection(last, weight, bias, sources, name))
        n = base.columns
        return [*found, Projection(base, np.eye(n), np.zeros(n))]

    @staticmethod
    def _weights(view: View, option: "Projection", node: Node) -> tuple[np.ndarray, np.ndarray]:
        """weight [heads, head_dim, inputs] and bias [heads, head_dim] of a view [heads, tokens,
        head_dim] of a projection."""
        weight, bias = option.weight, option.bias
        outputs, n = len(weight), view.index.shape[1]
        if option.base.type == "constant":
            heads, d = len(view.index), view.index.shape[2]
            return weight.reshape(heads, d, -1), bias.reshape(heads, d)
        column = view.index % outputs
        if (view.index < 0).any() or view.base.rows != n or (
                view.index // outputs != np.arange(n)[:, None]).any() or (
                column != column[:, :1]).any():
            raise node.refuse("queries, keys or values are not one row a token of one projection; "
                              "only attention over all tokens of a layer is known")
        rows, offset = weight[column[:, 0]], bias[column[:, 0]]
        if view.factor is not None and view.offset is not None:
            if (view.factor != view.factor[:, :1]).any() or (
                    view.offset != view.offset[:, :1]).any():
                raise node.refuse("queries, keys or values differ by the position (rotary "
                                  "embeddings, for one); that is not known")
            rows = rows * view.factor[:, 0, :, None]
            offset = offset * view.factor[:, 0] + view.offset[:, 0]
        return rows, offset

    # The model file

    @staticmethod
    def _named(node: Node | None, sources: frozenset[str]) -> str:
        """The name of a layer with tensors: of the module of a node, or that they belong to."""
        prefix = f"{node.path}." if node and node.path else ""
        for source in sorted(sources):
            if source.startswith(prefix) and not ANONYMOUS.search(source):
                owner, _, part = source.rpartition(".")
                return owner if part in OWNED else source
        return node.path if node else ""

    def entries(self) -> Iterator[tuple[dict[str, Any], Made]]:
        """The entries of the layers that the output needs, in order, and what they were made of.

        The tensors are Made's."""
        needed, names = self._needed(), self._names
        taken = {"input"}
        before = "input"
        for made in self.made:
            if made not in needed:
                continue
            wanted = _word(made.name or self._named(made.node, made.sources)) or made.type
            name, count = wanted, 2
            while name in taken:
                name, count = f"{wanted}_{count}", count + 1
            taken.add(name)
            names[made] = name
            if made.type in ATTENTION and made.columns != made.fields["embed_dim"]:
                raise made.node.refuse("the heads' values are not taken up by one projection")
            inputs = [names.get(each, "input") for each in made.inputs]
            fields = {key: value for key, value in made.fields.items() if key != "open"}
            entry = {"type": made.type, "name": name, **fields}
            if inputs != [before]:
                entry["inputs"] = inputs
            before = name
            yield entry, made


def _channels_last(part: np.ndarray) -> np.ndarray:
    return np.moveaxis(part, 1, -1)


def _common(names: Sequence[str]) -> str:
    """The module that all are in, or the one name."""
    found = names[0].split(".") if names else []
    for name in names[1:]:
        found = [a for a, b in zip(found, name.split("."), strict=False) if a == b]
    return ".".join(found)


def _word(name: str) -> str:
    """Letters, digits, _ and dots between words."""
    parts = [re.sub("[^A-Za-z0-9_]", "_", part) for part in re.split(r"[./:]+", name)]
    return ".".join(part for part in parts if part)
