"""Runs a model file's layers; what it computes is what a board must send."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .cores import CORES
from .errors import ModelError
from .layers.attention import MultiHeadAttention
from .layers.conv1d import Conv1D, QConv1D
from .layers.convert import Convert
from .layers.dense import Dense
from .layers.mean_pool import MeanPool
from .layers.relu import ReLU
from .layers.self_attention_1d import SelfAttention1D
from .modelfile import core_parameters, read
from .numerics.formats import Format

Layer = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, ...]


class Model:
    """A model file's layers in NumPy.

    Args:
        config: the JSON config of the file's metadata.
        tensors: the file's tensors.
        need_weights: whether the outputs include all scores and attention weights.

    Raises:
        ModelError: a tensor is missing or misshapen, or the layers do not fit each other.
    """

    def __init__(self, config: dict, tensors: dict[str, np.ndarray], need_weights: bool = True):
        self.config = config
        self.need_weights = need_weights
        self.tensors = tensors
        self.name = config["name"]
        self.input_size = int(np.prod(config["input"]["shape"]))
        self.layers: list[tuple[str, Shape, Layer]] = []
        self.operands: dict[str, list[np.ndarray | None]] = {}  # memory and mask of attention
        width = self.input_size
        for entry in config["layers"]:
            shape, layer, gives = self._make(entry, width)
            takes = int(np.prod(shape))
            if takes != width:
                raise ModelError(
                    f"{entry['name']}: takes {takes} values, the layer before gives {width}"
                )
            if layer is not None:
                self.layers.append((entry["name"], shape, layer))
            width = gives

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer's output by name, for one input int8 [input_size]."""
        outputs: dict[str, np.ndarray] = {}
        for name, shape, layer in self.layers:
            x = x.reshape(shape)
            x = layer(x, *self.operands.get(name, ()))
            if isinstance(layer, (MultiHeadAttention, SelfAttention1D)):
                outputs.update({f"{name}.{part}": v for part, v in layer.outputs.items()})
            outputs[name] = x
        return outputs

    def _make(self, entry: dict, width: int) -> tuple[Shape, Layer | None, int]:
        """One layer: the shape that it takes, the layer, and how many values it gives."""
        kind, name = entry["type"], entry["name"]
        if kind == "dense":
            rows, n, m = entry.get("rows", 1), entry["in_features"], entry["out_features"]
            layer = self._dense(name, n, m, entry.get("output") == "int32")
            return (n,) if rows == 1 else (rows, n), layer, rows * m
        if kind == "relu":
            return (width,), ReLU(), width
        if kind == "reshape":  # tensors are flat on the board: only a check
            return tuple(entry["shape"]), None, width
        if kind == "attention":
            s, e, h = entry["seq_len"], entry["embed_dim"], entry["num_heads"]
            if e % h:
                raise ModelError(f"{name}.embed_dim: expected a multiple of num_heads {h}, got {e}")
            if entry["core"] not in CORES:
                raise ModelError(f"{name}.core: expected one of {sorted(CORES)}")
            longest = CORES[entry["core"]].max_seq_len
            if not 1 <= s <= longest:
                raise ModelError(f"{name}.seq_len: expected 1 to {longest}, got {s}")
            linears = {p: self._dense(f"{name}.{p}", e, e) for p in ("q", "k", "v", "out")}
            return (s, e), self._attention(entry, linears), s * e
        if kind == "convert":
            return (width,), Convert(Format(entry["format"]), entry["shift"]), width
        if kind == "conv1d":
            length, size, filters = entry["length"], entry["kernel_size"], entry["filters"]
            n = ((length - size) // entry["stride"] + 1) * filters
            if "format" not in entry:
                dense = self._dense(name, size, filters)
                return (length,), Conv1D(dense, entry["stride"], True), n
            weights, biases, form = self._raw(entry, (filters, size), (filters,))
            return (length,), QConv1D(weights, biases, entry["stride"], form, True), n
        if kind == "self_attention_1d":
            s, e, p = entry["seq_len"], entry["embed_dim"], entry["projection_dim"]
            return (s, e), SelfAttention1D(*self._raw(entry, (3, e, p), (3, p))), s * p
        if kind == "mean_pool":
            s, e = entry["seq_len"], entry["embed_dim"]
            return (s, e), MeanPool(entry["mult"], entry["shift"]), e
        raise ModelError(f"{name}: unknown layer type {kind}")

    def _attention(self, entry: dict, linears: dict[str, Dense]) -> MultiHeadAttention:
        name = entry["name"]
        memory = self.tensors.get(f"{name}.memory")
        mask = self.tensors.get(f"{name}.key_padding_mask")
        key_len = entry["seq_len"] if memory is None else len(memory)
        for operand, shape in ((memory, (key_len, entry["embed_dim"])), (mask, (key_len,))):
            if operand is not None and operand.shape != shape:
                raise ModelError(f"{name}: expected {list(shape)}, got {list(operand.shape)}")
        self.operands[name] = [memory, mask]
        parameters = core_parameters(self.tensors, name)
        for key, values in parameters.items():
            if len(values) != entry["num_heads"]:
                raise ModelError(
                    f"{name}.core.{key}: expected {entry['num_heads']} heads, got {len(values)}"
                )
        try:
            return MultiHeadAttention(
                entry["num_heads"], linears, entry["constants"], entry["core"], entry["causal"],
                self.need_weights, parameters, **entry.get("options", {}),
            )
        except (TypeError, ValueError) as error:
            raise ModelError(f"{name}: {error}") from None

    def _raw(
        self, entry: dict, weights: Shape, biases: Shape
    ) -> tuple[np.ndarray, np.ndarray, Format]:
        """The weights and biases of a layer with a number format of its own, and that format."""
        form = Format(
            entry["format"], entry.get("rounding", "nearest"), entry.get("overflow", "wrap")
        )
        found = []
        for part, shape in (("weights", weights), ("biases", biases)):
            key = f"{entry['name']}.{part}"
            tensor = self.tensors.get(key)
            if tensor is None or tensor.shape != shape or tensor.dtype != form.dtype:
                raise ModelError(f"{key}: expected {np.dtype(form.dtype).name} {list(shape)}")
            found.append(tensor)
        return found[0], found[1], form

    def _dense(self, name: str, inputs: int, outputs: int, wide: bool = False) -> Dense:
        parts = {
            "weight": (np.int8, (outputs, inputs)),
            "bias": (np.int32, (outputs,)),
        }
        if not wide:
            parts |= {"mult": (np.int16, (outputs,)), "shift": (np.int8, (outputs,))}
        found = {}
        for part, (dtype, shape) in parts.items():
            key = f"{name}.{part}"
            if key not in self.tensors:
                raise ModelError(f"missing tensor {key}")
            tensor = self.tensors[key]
            if tensor.shape != shape or tensor.dtype != dtype:
                raise ModelError(
                    f"{key}: expected {np.dtype(dtype).name} {list(shape)}, "
                    f"got {tensor.dtype.name} {list(tensor.shape)}"
                )
            found[part] = tensor
        return Dense(**found)


def load(path: Path | str, need_weights: bool = True) -> Model:
    """Loads an int8 model file; `need_weights` as for Model.

    Raises:
        ModelError: it is not a model that attn8 can run; with what is wrong.
    """
    config, tensors = read(Path(path))
    try:
        return Model(config, tensors, need_weights)
    except KeyError as error:
        raise ModelError(f"{path}: the config lacks {error.args[0]}") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
