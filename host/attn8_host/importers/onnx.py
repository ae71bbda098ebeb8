"""ONNX files, with the onnx package's own evaluator of each operation."""

import ast
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

from ..errors import ModelError
from ..paths import require_file
from . import build
from .check import strip
from .convert import convert, one_of_several
from .graph import Node, constant, source, tensor

Model = tuple[dict[str, Any], dict[str, np.ndarray]]
OLDEST, NEWEST = 7, onnx.defs.onnx_opset_version()
IDS = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
SCOPES = "pkg.torch.onnx.name_scopes"  # torch's dynamo exporter: the modules around a node


def from_onnx(
    path: Path, *, shape: Sequence[int] | None = None, output: str | None = None,
    core: str = "exact", name: str | None = None,
) -> Model:
    """An ONNX file as a float model: (config, tensors) for modelfile.write.

    Args:
        path: of the file.
        shape: of its input, [1, ...], where the file leaves it open.
        output: the name of one of several that it gives, by default all.
        core: of attention layers.
        name: of the model, by default that of the file.

    Raises:
        ModelError: the file cannot be read, something in it is no layer that is known, a tensor
            reaches no layer, or the float form does not compute what it does.
    """
    model, stored = _read(path)
    given, mask = _input(model), _mask(model)
    sizes = _shape(model, given, shape)
    axis = strip(f"input {given}", sizes)
    rng, kind = np.random.default_rng(0), _inputs(model)[given].elem_type
    example = rng.normal(size=sizes) if kind in FLOATS else rng.integers(0, 2, sizes)
    number = onnx.helper.tensor_dtype_to_np_dtype(kind)
    example = example if kind in FLOATS else example.astype(number)
    chosen = _outputs(model, output)

    def made(shown: Shown | None) -> Model:
        reader = Reader(model, stored, given, example,
                        {mask: shown(sizes[1])} if mask and shown else {})
        ends = [reader.value(each, "the graph") for each in chosen]
        evaluator = ReferenceEvaluator(model)  # after the reader, which says what it cannot take

        def masked(x: np.ndarray, length: int) -> list[np.ndarray]:
            fed = {**stored, given: x.astype(number)}
            if mask and shown:
                fed[mask] = shown(length)
            try:
                found: Any = evaluator.run(chosen, fed)
            except Exception as error:  # of several kinds
                raise ModelError(f"{path}: cannot be run, as its own operations do not fit each "
                                 f"other: {_line(error)}") from None
            return [np.asarray(each, np.float64) for each in found]

        with one_of_several(len(chosen), f"--graph-output {chosen[0]}"):
            return convert(ends,
                           lambda x: masked(x, sizes[-1] if shown is None else sizes[1]), example,
                           axis, reader.owned, core, name or path.stem, masked if shown else None)

    if mask is None:
        return made(None)
    first, second = _shown(_inputs(model)[mask], sizes[1])
    try:
        return made(first)
    except ModelError as error:
        try:
            return made(second)
        except ModelError:
            raise error from None


Shown = Callable[[int], np.ndarray]  # from a length to a mask of that length


def _shown(kind: Any, tokens: int) -> tuple[Shown, Shown]:
    """With 1, or True, for the tokens that count, and for padding."""
    number = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if len(kind.shape.dim) == 1:  # the length itself
        return (lambda length: np.array([length], number),) * 2
    return (lambda length: (np.arange(tokens) < length).astype(number)[None],
            lambda length: (np.arange(tokens) >= length).astype(number)[None])


def _read(path: Path) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The file's graph, and its tensors by their names; those in other files are only mapped."""
    require_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except Exception as error:  # of protobuf
        raise ModelError(f"{path}: not an ONNX file that can be read ({_line(error)})") from None
    if not model.graph.node:
        raise ModelError(f"{path}: not an ONNX file with a graph")
    if not any(each.domain in ("", "ai.onnx") for each in model.opset_import):
        raise ModelError(f"{path}: names no opset; export with opset {OLDEST} to {NEWEST}")
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx") and not OLDEST <= each.version <= NEWEST:
            raise ModelError(f"{path}: opset {each.version} is not supported; export with opset "
                             f"{OLDEST} to {NEWEST}")
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise ModelError(f"{path}: {name}: sparse tensors are not supported; export it dense")
    stored = {each.name: _stored(each, path) for each in model.graph.initializer}
    del model.graph.initializer[:]
    inputs = [each for each in model.graph.input if each.name not in stored]  # older files list all
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _complement(model)
    return model, stored


def _stored(tensor: onnx.TensorProto, path: Path) -> np.ndarray:
    """The value of one of a file's tensors."""
    shape = tuple(tensor.dims)
    try:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        if min(shape, default=0) < 0:
            raise ValueError(f"its shape is {list(shape)}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _external(tensor, path, shape, kind)
        return numpy_helper.to_array(tensor)
    except ModelError:
        raise
    except KeyError:
        raise ModelError(f"{path}: {tensor.name}: its type {tensor.data_type} is unknown; export "
                         "it as float32") from None
    except Exception as error:  # of several kinds
        raise ModelError(f"{path}: {tensor.name}: cannot be read ({_line(error)}); export the file "
                         "again") from None


def _external(
    tensor: onnx.TensorProto, path: Path, shape: tuple[int, ...], kind: np.dtype[Any]
) -> np.ndarray:
    """What lies in a file beside `path`."""
    info = external_data_helper.ExternalDataInfo(tensor)
    file, offset = path.parent / info.location, info.offset or 0
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise ModelError(f"{path}: {tensor.name}: its external data are said to be in "
                         f"{info.location}, outside of the file's folder; export the file again")
    if not file.is_file():
        raise ModelError(f"{path}: {tensor.name}: its external data are missing; put "
                         f"{info.location} beside the file")
    size, needed = file.stat().st_size, math.prod(shape) * kind.itemsize
    if offset < 0 or (info.length or needed) != needed or offset + needed > size:
        raise ModelError(f"{path}: {tensor.name} {list(shape)}: its external data are {needed:,} "
                         f"bytes from {offset:,} of {info.location}, which has {size:,}; copy it "
                         "again, or export the file again")
    if not needed:
        return np.zeros(shape, kind)
    return np.asarray(np.memmap(file, kind, "r", offset, shape))


def _complement(model: onnx.ModelProto) -> None:
    """Erfc, which tf2onnx leaves as TensorFlow has it, as 1 - Erf."""
    nodes = list(model.graph.node)
    if not any(node.op_type == "Erfc" for node in nodes):
        return
    one = onnx.helper.make_node("Constant", [], ["attn8.one"], value_float=1.0)
    del model.graph.node[:]
    model.graph.node.append(one)
    for node in nodes:
        if node.op_type == "Erfc" and len(node.input) == len(node.output) == 1:
            middle = f"{node.output[0]}.erf"
            made = [onnx.helper.make_node("Erf", node.input, [middle], f"{node.name}.erf"),
                    onnx.helper.make_node("Sub", [one.output[0], middle], node.output, node.name)]
        else:
            made = [node]
        model.graph.node.extend(made)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _inputs(model: onnx.ModelProto) -> dict[str, Any]:
    return {each.name: each.type.tensor_type for each in model.graph.input}


def _input(model: onnx.ModelProto) -> str:
    """The name of the input."""
    found = _inputs(model)
    if len(found) not in (1, 2) or (len(found) == 2 and _mask(model) is None):
        raise ModelError(f"the file has {len(found)} inputs ({', '.join(found)}); a model has one, "
                         "and perhaps a mask [1, N] or a length [1] behind it")
    name = next(iter(found))
    if found[name].elem_type not in {*FLOATS, *IDS}:
        kind = onnx.TensorProto.DataType.Name(found[name].elem_type).lower()
        raise ModelError(f"input {name}: expected floats or token ids, got {kind}")
    return name


def _mask(model: onnx.ModelProto) -> str | None:
    """The name of a second input that is a mask of tokens or their number."""
    found = list(_inputs(model).items())
    if len(found) == 2:
        first, (name, second) = (len(each.shape.dim) for _, each in found[:1]), found[1]
        if len(second.shape.dim) < 3 and len(second.shape.dim) <= next(first):
            return name
    return None


def _shape(model: onnx.ModelProto, name: str, shape: Sequence[int] | None) -> tuple[int, ...]:
    """The input's shape: the file's, where it leaves axes open the given one's; its batch is 1."""
    kind = _inputs(model)[name]
    if not kind.HasField("shape"):
        if shape is None:
            raise ModelError(f"input {name}: its shape is open; give one, as --shape 1,32,6")
        return tuple(shape)
    axes = kind.shape.dim
    known = [axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
             for axis in axes]
    said = [str(n or axis.dim_param or "?") for n, axis in zip(known, axes, strict=True)]
    if shape is not None:
        if len(shape) != len(known) or any(n not in (None, m) for n, m in
                                           zip(known, shape, strict=True)):
            raise ModelError(f"input {name}: has shape [{', '.join(said)}], which is not "
                             f"{list(shape)}")
        return tuple(shape)
    if known and known[0] is None:
        known[0] = 1
    if None in known:
        example = ",".join(str(n or 32) for n in known)
        raise ModelError(f"input {name}: its shape [{', '.join(said)}] is open; give one, as "
                         f"--shape {example}")
    return tuple(n for n in known if n)


def _outputs(model: onnx.ModelProto, output: str | None) -> list[str]:
    names = [each.name for each in model.graph.output]
    if output is not None and output not in names:
        raise ModelError(f"there is no output {output}; expected one of {', '.join(names)}")
    return [output] if output else names


class Reader:
    """The graph of a file: `values` by their names; `owned`, the names of its float tensors."""

    def __init__(
        self, model: onnx.ModelProto, stored: dict[str, np.ndarray], given: str,
        example: np.ndarray, constants: dict[str, np.ndarray],
    ):
        self.opsets = {each.domain: each.version for each in model.opset_import}
        self.values: dict[str, Node] = {given: source(given, example)}
        self.values |= {key: constant(key, value) for key, value in constants.items()}
        self.owned: list[str] = []
        taken = {key for node in model.graph.node for key in node.input}
        taken |= {each.name for each in model.graph.output}
        for name, value in stored.items():
            self.values[name] = tensor(name, value)
            if value.dtype.kind == "f" or name not in taken:
                self.owned.append(name)
        for node in model.graph.node:
            self._read(node)

    def value(self, key: str, reader: str) -> Node:
        """What `reader` takes by this name.

        Raises:
            ModelError: no tensor and no node before it has it.
        """
        if key not in self.values:
            raise ModelError(f"{reader}: takes {key}, which no tensor and no node before it gives; "
                             "export the file again")
        return self.values[key]

    def _read(self, node: onnx.NodeProto) -> None:
        path = _path(node)
        label = node.name or next(iter(node.output))
        name = f"{node.op_type} {label}"
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(f"{name}: operations of {node.domain} are not supported; export "
                             "without them")
        if any(each.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
               for each in node.attribute):
            raise ModelError(f"{name}: has graphs of its own, which are not supported; export "
                             "without control flow")
        given = [self.value(key, name) if key else None for key in node.input]
        inputs = [each for each in given if each is not None]
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        made = getattr(self, f"_{node.op_type.lower()}", None)
        if made and any(not each.constant for each in inputs):
            self.values[node.output[0]] = made(name, path, given, attributes)
            return
        for i, output in enumerate(node.output):
            if output:
                self.values[output] = self._function(node, name, path, inputs, i)

    def _function(
        self, node: onnx.NodeProto, name: str, path: str, inputs: list[Node], position: int
    ) -> Node:
        """One output of a node, whose meaning is to be recognized."""
        proto = onnx.NodeProto()
        proto.CopyFrom(node)
        for attribute in proto.attribute:
            if proto.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = onnx.TensorProto.DOUBLE
        values = [onnx.helper.make_tensor_value_info(key, onnx.TensorProto.DOUBLE, None)
                  for key in (*dict.fromkeys(filter(None, node.input)), *filter(None, node.output))]
        n = len(values) - len([key for key in node.output if key])
        graph = onnx.helper.make_graph([proto], "node", values[:n], values[n:])
        opsets = [onnx.helper.make_opsetid(*each) for each in self.opsets.items()]
        try:
            evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))
        except Exception:  # of several kinds
            raise ModelError(f"{name}: opset {self.opsets.get('', '?')} has no such operation on "
                             "floats that is known; export without it") from None
        names = [key for key in node.input if key]

        def compute(*values: np.ndarray) -> np.ndarray:
            given = {key: value.astype(np.float64) if value.dtype == np.float32 else value
                     for key, value in zip(names, values, strict=True)}
            found: Any = evaluator.run([node.output[position]], given)
            return np.asarray(found[0])

        if not inputs or node.op_type in ("Shape", "Size"):
            return constant(name, compute(*(each.sample for each in inputs)))
        numbers = [each.f for each in node.attribute if each.type == onnx.AttributeProto.FLOAT]
        return build.add("function", name, path, inputs, compute, numbers=numbers)

    # Operations that are more than functions of one value

    @staticmethod
    def _matmul(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        return build.matmul(name, path, *given)

    @staticmethod
    def _gemm(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        a, b, *c = given
        if attributes.get("transA"):
            a = build.move(a, np.transpose)
        if attributes.get("transB"):
            b = build.move(b, np.transpose)
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        product = build.matmul(name, path, a, b)
        if alpha != 1:
            product = build.add("function", name, path, [product], lambda x: alpha * x)
        if not c or c[0] is None:
            return product
        return build.add("function", name, path, [product, c[0]], lambda x, y: x + beta * y)

    @staticmethod
    def _einsum(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        if len(given) != 2:
            raise given[0].refuse(f"{name} has {len(given)} operands; 2 are known")
        return build.einsum(name, path, attributes["equation"].decode(), *given)

    @staticmethod
    def _attention(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        q, k, v, *more = given
        mask, rest = (more[0], more[1:]) if more else (None, [])
        if any(each is not None for each in rest) or attributes.get("softcap"):
            raise q.refuse(f"{name} has a cache of keys or a cap of scores; those are not known")
        flat = len(q.shape) == 3
        if flat:
            def split(x: Node, heads: int) -> Node:
                return build.move(x, lambda x: x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2))

            q = split(q, attributes["q_num_heads"])
            k, v = (split(x, attributes["kv_num_heads"]) for x in (k, v))
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = (build.move(x, lambda x: np.repeat(x, groups, axis=1)) for x in (k, v))
        scale = attributes.get("scale") or 1 / math.sqrt(q.shape[-1])
        out = build.attention(name, path, q, k, v, mask, bool(attributes.get("is_causal")), scale)
        if flat:
            out = build.move(out, lambda x: x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1))
        return out

    @staticmethod
    def _concat(name: str, path: str, given: list[Node], attributes: dict[str, Any]) -> Node:
        if len(given) == 1:
            return given[0]
        return build.concat(name, path, given, attributes["axis"])

    @staticmethod
    def _conv(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        x, weight, *rest = given
        bias = rest[0] if rest else None
        axes, sizes = x.shape[2:], weight.shape[2:]
        one = [1] * len(axes)
        strides, dilations = (attributes.get(key, one) for key in ("strides", "dilations"))
        padding = _padding(attributes, axes, sizes, strides, dilations)
        return build.conv(name, path, x, weight, bias, strides, padding, dilations,
                          attributes.get("group", 1))

    @staticmethod
    def _maxpool(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        x, sizes = given[0], attributes["kernel_shape"]
        axes, one = x.shape[2:], [1] * len(x.shape[2:])
        strides, dilations = (attributes.get(key, one) for key in ("strides", "dilations"))
        if {*dilations} != {1}:
            raise x.refuse(f"{name} has a dilation; only plain windows are known")
        padding = _padding(attributes, axes, sizes, strides, dilations)
        positions = []
        for n, size, stride, (before, behind) in zip(axes, sizes, strides, padding, strict=True):
            room = n + before + behind - size
            count = (-(-room // stride) if attributes.get("ceil_mode") else room // stride) + 1
            positions.append(min(count, (n + before - 1) // stride + 1))
        return build.max_pool(name, path, x, sizes, strides, [pads[0] for pads in padding],
                              positions)

    @staticmethod
    def _averagepool(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        x, sizes = given[0], attributes["kernel_shape"]
        axes, one = x.shape[2:], [1] * len(x.shape[2:])
        strides, dilations = (attributes.get(key, one) for key in ("strides", "dilations"))
        padding = _padding(attributes, axes, sizes, strides, dilations)
        if {*dilations} != {1} or attributes.get("ceil_mode") or (
                any(map(any, padding)) and not attributes.get("count_include_pad")):
            raise x.refuse(f"{name} takes means of fewer values at the ends, or has a dilation; "
                           "take ceil_mode=0 and count_include_pad=1")
        return build.mean_pool(name, path, x, sizes, strides, padding)

    def _groupnormalization(
        self, name: str, path: str, given: list[Any], attributes: dict[str, Any]
    ) -> Node:
        (x, weight, bias), groups = given, attributes["num_groups"]
        if self.opsets.get("", 0) < 21:  # a value for each group
            weight, bias = (build.move(part, lambda p: np.repeat(p, x.shape[1] // groups))
                            for part in (weight, bias))
        return build.group_norm(name, path, x, groups, weight, bias,
                                attributes.get("epsilon", 1e-5))

    @staticmethod
    def _instancenormalization(
        name: str, path: str, given: list[Any], attributes: dict[str, Any]
    ) -> Node:
        x, weight, bias = given
        return build.group_norm(name, path, x, x.shape[1], weight, bias,
                                attributes.get("epsilon", 1e-5))

    @staticmethod
    def _argmax(name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        return build.argmax(name, path, given[0], attributes.get("axis", 0),
                            bool(attributes.get("keepdims", 1)))

    def _gather(self, name: str, path: str, given: list[Any], attributes: dict[str, Any]) -> Node:
        values, index = given
        if values.constant and not index.constant:
            return build.add("embedding", name, path, [values, index], lambda x, i: np.take(
                x, np.rint(i).astype(np.int64), attributes.get("axis", 0)))
        axis = attributes.get("axis", 0)
        return build.add("function", name, path, [values, index],
                         lambda x, i: np.take(x, np.asarray(i, np.int64), axis))


def _padding(
    attributes: dict[str, Any], axes: Sequence[int], sizes: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """How many zeros there are in front of and behind each axis of windows of these sizes."""
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    if not auto.startswith("SAME"):
        pads = attributes.get("pads", [0] * 2 * len(axes))
        return list(zip(pads[:len(axes)], pads[len(axes):], strict=True))
    padding = []
    for n, size, stride, dilation in zip(axes, sizes, strides, dilations, strict=True):
        reach = dilation * (size - 1) + 1
        total = max((-(-n // stride) - 1) * stride + reach - n, 0)
        less, more = total // 2, total - total // 2
        padding.append((more, less) if auto == "SAME_LOWER" else (less, more))
    return padding


def _path(node: onnx.NodeProto) -> str:
    """The modules that a node belongs to, as its exporter says."""
    for each in node.metadata_props:
        if each.key == SCOPES:
            scopes = ast.literal_eval(each.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    above = [part for part in node.name.split("/")[:-1] if part]
    return re.sub(r"[^A-Za-z0-9_.]", "_", ".".join(above))
