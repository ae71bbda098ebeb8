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
    #
    # steps: (layer, places of its inputs) each; a place counts results, 0 being the input.

    def __init__(self, name, input_size, scale, steps, outputs):
        self.name = name
        self.scale = scale
        self.input = array("b", bytes(input_size))
        self.layers = [layer for layer, _ in steps]
        self.outputs = outputs
        self._steps = steps
        self._values = [self.input] + [None] * len(steps)

    def __call__(self, x=None):
        # x: the input, or None where it was written to self.input
        if x is None:
            x = self.input
        else:
            checks.int8("input", x, len(self.input))
        values = self._values
        values[0] = x
        at = 0
        for layer, places in self._steps:
            if len(places) == 1:
                x = layer(values[places[0]])
            elif len(places) == 2:
                x = layer(values[places[0]], values[places[1]])
            else:  # a call with *arguments would allocate
                x = layer(values[places[0]], values[places[1]], values[places[2]])
            at += 1
            values[at] = x
        return x


def load(path, need_weights=False, count=None, advance=None):
    # Loads a model, or its first `count` layers; need_weights keeps all scores and attention
    # weights (see cores); advance() is called before each layer. What trains a model has a loader
    # of its own, attn8.train.load.
    def make():
        return _load(path, configuration(path, "attn8"), need_weights, count, advance)

    return loaded(path, make)


def loaded(path, make):
    # -> what make() makes of the file, whose path begins each error
    threshold = gc.threshold()
    gc.threshold(4096)  # what stays for good then lies close together, not among what does not
    try:
        return make()
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else "%s: %s" % (path, text))
    finally:
        gc.threshold(threshold)


def configuration(path, form):
    # The config of a file of this format, checked as far as all of them are alike
    from . import safetensors

    metadata = safetensors.metadata(path)
    if "config" not in metadata:
        raise ValueError("no attn8 config in the metadata")
    config = json.loads(metadata.pop("config"))
    if not isinstance(config, dict) or config.get("version") != 1:
        raise ValueError("expected an %s model of version 1" % form)
    found = config.get("format")
    if found != form:
        loader = {"attn8": "attn8.load", "attn8-train": "attn8.train.load"}.get(str(found))
        raise ValueError("expected an %s model of version 1%s"
                         % (form, ", got %s: use %s" % (found, loader) if loader else ""))
    del config["format"], config["version"]
    for key, kind in (("name", str), ("input", dict), ("layers", list)):
        if key not in config:
            raise ValueError("the config lacks %s" % key)
        if type(config[key]) is not kind or not config[key]:
            raise ValueError("%s: expected %s, got %s"
                             % (key, {str: "a word", dict: "an object", list: "layers"}[kind],
                                config[key]))
    return config


def _load(path, config, need_weights, count, advance):
    from . import find, safetensors
    from .entry import Entry

    known(config, ("name", "input", "layers"))
    source = config["input"]
    known(source, ("shape", "scale"), "input.")
    if "shape" not in source:
        raise ValueError("input: the config lacks shape")
    size = 1
    for n in source["shape"] if isinstance(source["shape"], list) else (0,):
        size *= n if type(n) is int and n > 0 else 0
    checks.between("input.shape: values", size, 1, 1 << 15)
    tensors, shapes = safetensors.read(path)
    steps = []
    outputs = []
    places = {"input": 0}  # by name: of its values among all results
    signals = {"input": ("int8", size)}  # and what it gives
    last = "input"
    for fields in config["layers"][:count]:
        if advance:
            advance()
        entry = Entry(fields, tensors, shapes, outputs)
        if entry.name in places:
            raise ValueError("%s: two layers have this name" % entry.name)
        sources = entry.names("inputs", [last])
        for name in sources:
            if name not in places:
                raise ValueError("%s.inputs: there is no layer %s before it" % (entry.name, name))
        module = find.module("layers", entry.type)
        if not hasattr(module, "build"):
            raise ValueError("%s: unknown layer type %s" % (entry.name, entry.type))
        given = [signals[name] for name in sources]
        if len(given) != getattr(module, "INPUTS", 1):
            raise ValueError("%s.inputs: expected %d, got %d"
                             % (entry.name, getattr(module, "INPUTS", 1), len(given)))
        layer, gives = module.build(entry, given[0] if len(given) == 1 else given, need_weights)
        entry.done()
        last = entry.name
        signals[last] = gives
        places[last] = places[sources[0]]
        if layer:
            steps.append((layer, tuple([places[name] for name in sources])))
            places[last] = len(steps)
    if count is None:
        for key in tensors:
            raise ValueError("unused tensor %s; take it out of the file" % key)
    return Model(config["name"], size, source.get("scale"), steps, outputs)


def known(fields, names, prefix=""):
    for key in fields:
        if key not in names:
            raise ValueError("unknown field %s%s; take it out of the config" % (prefix, key))
