# A model is a list of layers that a safetensors file describes: its metadata holds a JSON config.
import gc
import json
from array import array

from . import checks


class Model:
    # Runs its layers in turn over one input, int8 [input_size]; one step of it stands for `scale`,
    # None where the file does not say. `outputs` lists what every layer computed last, as (name,
    # typecode, array): each array is the layer's own and is overwritten by the next call. A call
    # allocates nothing.

    def __init__(self, name, input_size, scale, layers, outputs):
        self.name = name
        self.scale = scale
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


def load(path, need_weights=False, count=None, advance=None):
    # Loads a model, or its first `count` layers; need_weights keeps all scores and attention
    # weights (see cores); advance() is called before each layer. A training file gives what trains
    # it (see train/trainer.py).
    threshold = gc.threshold()
    gc.threshold(4096)  # what stays for good then lies close together, not among what does not
    try:
        return _load(path, need_weights, count, advance)
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    finally:
        gc.threshold(threshold)


def _load(path, need_weights, count, advance):
    from . import safetensors

    metadata = safetensors.metadata(path)
    if "config" not in metadata:
        raise ValueError("%s: no attn8 config in the metadata" % path)
    config = json.loads(metadata.pop("config"))
    if config.get("format") == "attn8-train":
        from .train.trainer import Trainer

        return Trainer(path, config)
    if config.get("format") != "attn8" or config.get("version") != 1:
        raise ValueError("%s: expected an attn8 model of version 1" % path)
    size = 1
    for n in config["input"]["shape"]:
        size *= n
    layers = []
    outputs = []
    width = size
    tensors, shapes = safetensors.read(path)
    for entry in config["layers"][:count]:
        if advance:
            advance()
        if entry["type"] not in _modules:
            raise ValueError("%s: unknown layer type %s" % (path, entry["type"]))
        module = __import__("attn8." + _modules[entry["type"]], None, None, ["build"])
        layer, takes, width_after = module.build(
            entry, tensors, shapes, outputs, width, need_weights
        )
        if takes != width:
            raise ValueError(
                "%s: takes %d values, the layer before gives %d" % (entry["name"], takes, width)
            )
        width = width_after
        if layer:
            layers.append(layer)
    checks.between("input", size, 1, 1 << 15)
    return Model(config["name"], size, config["input"].get("scale"), layers, outputs)


# Each has a function build(entry, tensors, shapes, outputs, width, need_weights): it makes the
# layer that an entry of the config describes, takes its parameters out of `tensors`, adds what it
# computes to `outputs`, and returns (layer, values that it takes, values that it gives). `width` is
# what the layer before gives.
_modules = {
    "attention": "layers.attention",
    "conv1d": "layers.conv1d",
    "convert": "layers.convert",
    "dense": "layers.dense",
    "mean_pool": "layers.mean_pool",
    "relu": "layers.relu",
    "reshape": "layers.reshape",
    "self_attention_1d": "layers.self_attention_1d",
}
