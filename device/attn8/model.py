# A model is a list of layers that a safetensors file describes: its metadata holds a JSON config.
import json
from array import array

from . import checks


class Model:
    # Runs its layers in turn over one input, int8 [input_size]. `outputs` lists what every layer
    # computed last, as (name, typecode, array): each array is the layer's own
    # and is overwritten by the next call. A call allocates nothing.

    def __init__(self, name, input_size, layers, outputs):
        self.name = name
        self.input = array("b", bytes(input_size))
        self.layers = layers
        self.outputs = outputs

    def __call__(self, x=None):
        # x: the input, or None where it was written to self.input
        if x is None:
            x = self.input
        else:
            checks.int8("input", x, len(self.input))
        for layer in self.layers:
            x = layer(x)
        return x


def load(path, need_weights=False):
    # Loads a model; need_weights keeps all scores and attention weights (see cores). A training
    # file gives what trains it (see train/trainer.py).
    from . import safetensors

    metadata, tensors, shapes = safetensors.read(path)
    if "config" not in metadata:
        raise ValueError("%s: no attn8 config in the metadata" % path)
    config = json.loads(metadata["config"])
    if config.get("format") == "attn8-train":
        from .train.trainer import Trainer

        return Trainer(path, config, tensors)
    if config.get("format") != "attn8" or config.get("version") != 1:
        raise ValueError("%s: expected an attn8 model of version 1" % path)
    size = 1
    for n in config["input"]["shape"]:
        size *= n
    layers = []
    outputs = []
    width = size
    try:
        for entry in config["layers"]:
            if entry["type"] not in _builders:
                raise ValueError("%s: unknown layer type %s" % (path, entry["type"]))
            layer, takes, width_after = _builders[entry["type"]](
                entry, tensors, shapes, outputs, width, need_weights
            )
            if takes != width:
                raise ValueError(
                    "%s: takes %d values, the layer before gives %d" % (entry["name"], takes, width)
                )
            width = width_after
            if layer:
                layers.append(layer)
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    return Model(config["name"], checks.between("input", size, 1, 1 << 15), layers, outputs)


def _expect(shapes, name, shape):
    if name not in shapes:
        raise ValueError("missing tensor " + name)
    if shapes[name] != shape:
        raise ValueError("%s: expected shape %s, got %s" % (name, shape, shapes[name]))


def _expect_linear(shapes, name, inputs, outputs, wide=False):
    _expect(shapes, name + ".weight", [outputs, inputs])
    _expect(shapes, name + ".bias", [outputs])
    if not wide:
        _expect(shapes, name + ".mult", [outputs])
        _expect(shapes, name + ".shift", [outputs])


def _dense(entry, tensors, shapes, outputs, width, need_weights):
    from .layers.dense import Dense, Linear

    name, n, m = entry["name"], entry["in_features"], entry["out_features"]
    _expect_linear(shapes, name, n, m, entry.get("output") == "int32")
    rows = entry.get("rows", 1)
    layer = Dense(Linear.take(tensors, name, n, m), rows)
    outputs.append((name, "i" if layer.linear.wide else "b", layer.out))
    return layer, rows * n, rows * m


def _relu(entry, tensors, shapes, outputs, width, need_weights):
    from .layers.activation import ReLU

    layer = ReLU(width)
    outputs.append((entry["name"], "b", layer.out))
    return layer, width, width


def _reshape(entry, tensors, shapes, outputs, width, need_weights):
    # Only a check: tensors are flat
    size = 1
    for n in entry["shape"]:
        size *= n
    return None, size, size


def _attention(entry, tensors, shapes, outputs, width, need_weights):
    from .attention import MultiHeadAttention

    name, s, e = entry["name"], entry["seq_len"], entry["embed_dim"]
    for part in ("q", "k", "v", "out"):
        _expect_linear(shapes, name + "." + part, e, e)
    # What the file holds besides the parameters: a fixed sequence to attend to, and its padding
    memory = tensors.pop(name + ".memory", None)
    mask = tensors.pop(name + ".key_padding_mask", None)
    key_len = None
    if memory is not None:
        key_len = shapes[name + ".memory"][0]
        _expect(shapes, name + ".memory", [key_len, e])
    layer = MultiHeadAttention(s, e, entry["num_heads"], tensors, entry["constants"],
                               entry["core"], entry["causal"], need_weights, name, key_len,
                               **entry.get("options", {}))
    for part in ("q", "k", "v"):
        outputs.append((name + "." + part, "b", getattr(layer, part)))
    outputs.extend((name + "." + part, code, values) for part, code, values in layer.outputs)
    outputs.append((name + ".heads", "b", layer.heads))
    outputs.append((name, "b", layer.out.out))
    if memory is not None or mask is not None:
        return lambda x: layer(x, memory, mask), s * e, s * e
    return layer, s * e, s * e


def _mean_pool(entry, tensors, shapes, outputs, width, need_weights):
    from .layers.pooling import MeanPool

    s, e = entry["seq_len"], entry["embed_dim"]
    layer = MeanPool(s, e, entry["mult"], entry["shift"])
    outputs.append((entry["name"], "b", layer.out))
    return layer, s * e, e


def _convert(entry, tensors, shapes, outputs, width, need_weights):
    from .layers.convert import Convert

    layer = Convert(width, entry["format"], entry["shift"])
    outputs.append((entry["name"], layer.format.code, layer.out))
    return layer, width, width


def _conv1d(entry, tensors, shapes, outputs, width, need_weights):
    # int8, or in the entry's format; always time-major
    from .layers.conv1d import Conv1D, QConv1D
    from .layers.dense import Linear

    name = entry["name"]
    sizes = entry["length"], entry["kernel_size"], entry["stride"], entry["filters"]
    if "format" in entry:
        kind, rounding, overflow = _format(entry)
        fixed = QConv1D(*sizes, kind, rounding, overflow, True)
        _fill(fixed, name, tensors)
        outputs.append((name, fixed.format.code, fixed.out))
        return fixed, sizes[0], len(fixed.out)
    _expect_linear(shapes, name, sizes[1], sizes[3])
    layer = Conv1D(*sizes, Linear.take(tensors, name, sizes[1], sizes[3]), True)
    outputs.append((name, "b", layer.out))
    return layer, sizes[0], len(layer.out)


def _self_attention_1d(entry, tensors, shapes, outputs, width, need_weights):
    from .layers.selfattention1d import SelfAttention1D

    name, n, d, p = entry["name"], entry["seq_len"], entry["embed_dim"], entry["projection_dim"]
    layer = SelfAttention1D(n, d, p, *_format(entry))
    _fill(layer, name, tensors)
    for part in ("q", "k", "v", "kv"):
        outputs.append((name + "." + part, layer.format.code, getattr(layer, part)))
    outputs.append((name, layer.format.code, layer.out))
    return layer, n * d, n * p


def _format(entry):
    return entry["format"], entry.get("rounding", "nearest"), entry.get("overflow", "wrap")


def _fill(layer, name, tensors):
    # The parameters of a layer in a format of its own
    for part in ("weights", "biases"):
        key = name + "." + part
        if key not in tensors:
            raise ValueError("missing tensor " + key)
        layer.format.copy(key, tensors.pop(key), memoryview(getattr(layer, part)))


_builders = {
    "convert": _convert,
    "conv1d": _conv1d,
    "self_attention_1d": _self_attention_1d,
    "dense": _dense,
    "relu": _relu,
    "reshape": _reshape,
    "attention": _attention,
    "mean_pool": _mean_pool,
}
