"""Modules of PyTorch, by torch.export."""

import copy
import logging
import math
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..errors import ModelError
from ..tokenizer import Tokenizer
from . import build
from .check import strip
from .convert import convert, one_of_several
from .graph import Node, constant, source, tensor
from .text import of_text

Model = tuple[dict[str, Any], dict[str, np.ndarray]]
aten = torch.ops.aten


def from_torch(
    module: torch.nn.Module, example: Any, *, output: int | None = None, core: str = "exact",
    name: str = "model", tokenizer: Tokenizer | None = None,
) -> Model:
    """A module as a float model: (config, tensors) for modelfile.write.

    Args:
        module: that torch.export takes; it is looked at in eval mode, and stays as it is.
        example: its input, float [1, ...] or token ids [1, N]; or a tuple of inputs that are all
            the same tensor, as nn.MultiheadAttention takes. A last one of another shape is a mask
            [1, N] that shows all tokens, or their number [1]; its model takes lengths.
        output: which one, from 0, of several that it gives; by default all are.
        core: of attention layers.
        name: of the model.
        tokenizer: makes it a model of text, where the module gives logits of each token (see
            text.of_text).

    Raises:
        ModelError: something in it is no layer that is known, a parameter reaches no layer, or
            the float form does not compute what the module does.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    if not arguments or not all(isinstance(x, torch.Tensor) for x in arguments):
        raise ModelError("example: expected a tensor, or a tuple of tensors")
    first, mask = arguments[0], None
    if len(arguments) > 1 and arguments[-1] is not first and (
            arguments[-1].shape in (first.shape[:2], first.shape[:1])):
        *same, mask = arguments
        arguments = tuple(same)
    if any(x is not first for x in arguments):
        raise ModelError("example: a model has one input; expected the same tensor for all "
                         f"{len(arguments)} arguments")
    kind = torch.float64 if first.is_floating_point() else torch.int64
    if first.is_complex() or first.dtype == torch.bool:
        raise ModelError(f"example: expected floats or token ids, got {first.dtype} "
                         f"{list(first.shape)}")
    axis = strip("example", tuple(first.shape))
    module = copy.deepcopy(module).to("cpu", torch.float64).eval()
    x = first.detach().to("cpu", kind)
    shown = None if mask is None else _shown(mask.detach().cpu(), first.shape[1])
    more = () if shown is None else (shown(first.shape[1]),)
    program = _export(module, ((x,) * len(arguments)) + more)
    graph = Reader(program, x.numpy(), output, more[0].numpy() if more else None)

    def masked(values: np.ndarray, length: int | None) -> list[np.ndarray]:
        given = torch.from_numpy(np.ascontiguousarray(values)).to(kind)
        more = () if shown is None or length is None else (shown(length),)
        with torch.no_grad(), _slow_path():
            found = module(*(given,) * len(arguments), *more)
        leaves = [each.numpy() for each in tree.tree_leaves(found) if each is not None]
        return leaves if output is None else [leaves[output]]

    def original(values: np.ndarray) -> list[np.ndarray]:
        return masked(values, first.shape[1] if shown else None)

    owned = dict(module.named_parameters())
    owned |= {key: value for key, value in module.state_dict().items()
              if value.is_floating_point()}
    with one_of_several(len(graph.outputs), "output=0"):
        made = convert(graph.outputs, original, x.numpy(), axis, owned, core, name,
                       masked if shown else None)
    return made if tokenizer is None else of_text(*made, tokenizer)


def _shown(mask: torch.Tensor, tokens: int) -> Callable[[int], torch.Tensor]:
    """From a length to a mask of that length, of the kind of the example's, or to [length]."""
    if mask.dim() == 1:
        if mask.item() != tokens:
            raise ModelError(f"example: expected the full length [{tokens}], got {mask.tolist()}")
        return lambda length: torch.full_like(mask, length)
    if (mask != mask[0, 0]).any():
        raise ModelError(f"example: expected a mask {list(mask.shape)} that shows all tokens, "
                         "with one value")
    whole = mask.to(torch.float64) if mask.is_floating_point() else mask
    hidden = ~mask if mask.dtype == torch.bool else 1 - mask

    def of(length: int) -> torch.Tensor:
        return torch.where(torch.arange(tokens) < length, whole, hidden.to(whole.dtype))

    return of


@contextmanager
def _slow_path() -> Iterator[None]:
    """Without the fast path, which is one opaque operation and gives fewer tokens."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _export(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> Any:
    """Its program, in eval mode."""
    level = logging.getLogger("torch.export").level
    try:
        with warnings.catch_warnings(), torch.no_grad(), _slow_path():
            warnings.simplefilter("ignore")
            # Of these each part is a layer
            parts = torch._decomp.get_decompositions([aten.glu.default])
            return torch.export.export(module, arguments).run_decompositions(parts)
    except Exception as error:  # of whatever the module does
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"torch.export cannot take {type(module).__name__}: {line}") from None
    finally:
        logging.getLogger("torch.export").setLevel(level)


class Reader:
    """The graph of an exported program; `outputs` are what it gives."""

    def __init__(
        self, program: Any, example: np.ndarray, output: int | None, mask: np.ndarray | None
    ):
        self.nodes: dict[Any, Node] = {}
        self._input = source("input", example)
        signature = program.graph_signature
        tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
                   **signature.inputs_to_lifted_tensor_constants}
        values = {**program.constants, **program.state_dict}
        last = signature.user_inputs[-1]
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name == last and mask is not None:
                self.nodes[node] = constant("mask", mask)
            elif node.op == "placeholder":
                if node.name in tensors:
                    key = tensors[node.name]
                    self.nodes[node] = tensor(key, values[key].detach().numpy())
                else:
                    self.nodes[node] = self._input
            elif node.op == "call_function" and node.users:  # else it only asserts
                if node.target is not operator.getitem and isinstance(
                        node.meta.get("val"), (list, tuple)):
                    continue  # its parts are read one by one
                self.nodes[node] = self._read(node)
            elif node.op == "output":
                self.outputs = self._chosen(node.args[0], output)

    def _chosen(self, given: Any, output: int | None) -> list[Node]:
        found = [each for each in tree.tree_leaves(given) if each is not None]
        if not 0 <= (output or 0) < len(found):
            raise ModelError(f"output: expected 0 to {len(found) - 1}, got {output}")
        chosen = found if output is None else [found[output]]
        return [self.nodes[each] for each in chosen]

    def _read(self, node: Any) -> Node:
        """One call of an operation."""
        path = ".".join(part for part in _module(node).split(".") if part)
        call = node.args[0] if node.target is operator.getitem else node
        name = f"{path}: {call.name}" if path else str(call.name)
        first = call is not node and call not in self.nodes and node.args[1] == 0
        form = FORMS.get(call.target if first else node.target)  # of several, what it gives first
        if form is not None:
            arguments = _bound(call)
            given = {key: self.nodes[value] if _is_node(value) else value
                     for key, value in arguments.items()}
            return form(name, path, given, self)
        return self.function(node, name, path)

    def function(self, node: Any, name: str, path: str) -> Node:
        """A call whose meaning is to be recognized."""
        target, position = node.target, None
        arguments = (node.args, node.kwargs)
        if target is operator.getitem and node.args[0] not in self.nodes:
            call, position = node.args
            target, arguments = call.target, (call.args, call.kwargs)
        leaves, spec = tree.tree_flatten(arguments)
        places = [i for i, leaf in enumerate(leaves) if _is_node(leaf)]
        leaves = [torch.float64 if isinstance(leaf, torch.dtype) and leaf.is_floating_point
                  else leaf for leaf in leaves]

        def compute(*values: np.ndarray) -> np.ndarray:
            own = list(leaves)
            for i, value in zip(places, values, strict=True):
                own[i] = torch.from_numpy(np.ascontiguousarray(value))
            args, kwargs = tree.tree_unflatten(own, spec)
            with torch.no_grad():
                out = target(*args, **kwargs)
            found = out if position is None else out[position]
            return np.array(found.numpy())

        inputs = [self.nodes[leaves[i]] for i in places]
        if not inputs or target in OF_SHAPE:
            return constant(name, compute(*(each.sample for each in inputs)))
        numbers = [leaf for leaf in leaves if type(leaf) is float]
        return build.add("function", name, path, inputs, compute, numbers=numbers)


def _is_node(value: Any) -> bool:
    return isinstance(value, torch.fx.Node)


def _module(node: Any) -> str:
    """The path of the module that a call belongs to."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].removeprefix("L['self']").strip(".") if paths else ""


def _bound(node: Any) -> dict[str, Any]:
    """A call's arguments by name, defaults among them."""
    found: dict[str, Any] = {}
    for i, argument in enumerate(node.target._schema.arguments):
        if i < len(node.args):
            found[argument.name] = node.args[i]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


def _linear(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    return build.linear(name, path, given["input"], given["weight"], given["bias"])


def _matmul(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    a, b = (given[key] for key in ("self", "other" if "other" in given else "mat2"))
    if min(len(a.shape), len(b.shape)) < 2:
        raise a.refuse(f"{name} multiplies a vector; reshape it to a matrix")
    return build.matmul(name, path, a, b)


def _addmm(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    a, b = [given[key] for key in (("mat1", "mat2") if "mat1" in given else ("batch1", "batch2"))]
    product = build.matmul(name, path, a, b)
    beta, alpha = given["beta"], given["alpha"]
    return build.add("function", name, path, [product, given["self"]],
                     lambda x, y: alpha * x + beta * y)


def _einsum(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    operands = [reader.nodes[each] for each in given["tensors"]]
    if len(operands) != 2:
        raise operands[0].refuse(f"{name} has {len(operands)} operands; 2 are known")
    return build.einsum(name, path, given["equation"], *operands)


def _cat(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    return build.concat(name, path, [reader.nodes[each] for each in given["tensors"]],
                        given["dim"])


def _stack(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    dim = given["dim"]
    parts = [build.move(reader.nodes[each], lambda x: np.expand_dims(x, dim))
             for each in given["tensors"]]
    return build.concat(name, path, parts, dim)


def _embedding(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    table, numbers = given["weight"], given["indices"]
    return build.add("embedding", name, path, [table, numbers],
                     lambda table, numbers: table[np.rint(numbers).astype(np.int64)])


def _attention(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    q, k, v = (given[key] for key in ("query", "key", "value"))
    scale = given["scale"] or 1 / math.sqrt(q.shape[-1])
    if given["enable_gqa"]:
        k, v = (build.move(x, lambda x: np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3))
                for x in (k, v))
    return build.attention(name, path, q, k, v, given["attn_mask"], given["is_causal"], scale)


def _conv(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    weight, padding, dilations = given["weight"], given["padding"], given["dilation"]
    if padding == "same":
        whole = [d * (size - 1) for d, size in zip(dilations, weight.shape[2:], strict=True)]
        pads = [(each // 2, each - each // 2) for each in whole]
    else:
        pads = [(0, 0)] * len(dilations) if padding == "valid" else [(n, n) for n in padding]
    return build.conv(name, path, given["input"], weight, given["bias"], given["stride"], pads,
                      dilations, given["groups"])


def _max_pool(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    x, axes = given["self"], len(given["self"].shape) - 2
    kernel, stride, before, dilation = (
        [each[0]] * axes if len(each) == 1 else list(each) for each in (
            given["kernel_size"], given["stride"] or given["kernel_size"],
            given["padding"], given["dilation"]))
    if {*dilation} != {1} or axes < 1:
        raise x.refuse(f"{name} has a dilation, or takes no batch; only plain windows are known")
    positions = []
    for n, size, step, more in zip(x.shape[2:], kernel, stride, before, strict=True):
        room = n + 2 * more - size
        count = (-(-room // step) if given["ceil_mode"] else room // step) + 1
        positions.append(min(count, (n + more - 1) // step + 1))  # each begins within the values
    return build.max_pool(name, path, x, kernel, stride, before, positions)


def _adaptive_max_pool(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    x, positions = given["self"], given["output_size"]
    sizes = _evenly(name, x, positions)
    return build.max_pool(name, path, x, sizes, sizes, [0] * len(sizes), positions)


def _avg_pool(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    x, padding = given["self"], given["padding"]
    if given["ceil_mode"] or (any(padding) and not given["count_include_pad"]):
        raise x.refuse(f"{name} takes means of fewer values at the ends; take ceil_mode=False and "
                       "count_include_pad=True")
    return build.mean_pool(name, path, x, given["kernel_size"],
                           given["stride"] or given["kernel_size"], [(n, n) for n in padding])


def _adaptive_avg_pool(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    x = given["self"]
    sizes = _evenly(name, x, given["output_size"])
    return build.mean_pool(name, path, x, sizes, sizes, [(0, 0)] * len(sizes))


def _evenly(name: str, x: Node, positions: list[int]) -> list[int]:
    """The sizes of so many windows that cover the axes behind the channels."""
    axes = x.shape[2:]
    if any(n % count for n, count in zip(axes, positions, strict=True)):
        raise x.refuse(f"{name} has windows of several sizes; take {list(positions)} of an input "
                       "that these divide")
    return [n // count for n, count in zip(axes, positions, strict=True)]


def _group_norm(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    return build.group_norm(name, path, given["input"], given["num_groups"], given["weight"],
                            given["bias"], given["eps"])


def _instance_norm(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    x = given["input"]
    if not given["use_input_stats"]:
        raise x.refuse(f"{name} has running statistics; take BatchNorm for these")
    return build.group_norm(name, path, x, x.shape[1], given["weight"], given["bias"],
                            given["eps"])


def _argmax(name: str, path: str, given: dict[str, Any], reader: Reader) -> Node:
    return build.argmax(name, path, given["self"], given["dim"], given["keepdim"])


# What these give is made of their input's shape, not of its values
OF_SHAPE = {aten.zeros_like.default, aten.ones_like.default, aten.full_like.default,
            aten.new_zeros.default, aten.new_ones.default, aten.new_full.default}
Form = Callable[[str, str, dict[str, Any], Reader], Node]
FORMS: dict[Any, Form] = {
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.mm.default: _matmul,
    aten.bmm.default: _matmul,
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _addmm,
    aten.einsum.default: _einsum,
    aten.cat.default: _cat,
    aten.stack.default: _stack,
    aten.embedding.default: _embedding,
    aten.scaled_dot_product_attention.default: _attention,
    aten.conv1d.default: _conv,
    aten.conv1d.padding: _conv,
    aten.conv2d.default: _conv,
    aten.conv2d.padding: _conv,
    aten.group_norm.default: _group_norm,
    aten.instance_norm.default: _instance_norm,
    aten.argmax.default: _argmax,
    aten.max_pool1d.default: _max_pool,
    aten.max_pool2d.default: _max_pool,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.adaptive_max_pool1d.default: _adaptive_max_pool,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    aten.avg_pool1d.default: _avg_pool,
    aten.avg_pool2d.default: _avg_pool,
    aten.adaptive_avg_pool1d.default: _adaptive_avg_pool,
    aten.adaptive_avg_pool2d.default: _adaptive_avg_pool,
}
