# Reads a model's file: its metadata holds a JSON config, which says what each layer is made of.
import gc
import json
import os
from array import array

from . import checks, memory, signals
from .find import module as find

STREAMED = 1024  # bytes of weights that may stay in a file


def load(path, need_weights, count, advance, step, share, weights, unload):
    # See model.load; unload: forgets what made the layers before, once none like them come
    def make():
        from .safetensors import Tensors

        config = configuration(path, "attn8")
        tensors = Tensors(path, STREAMED if streams(path, weights, step) else 0)
        try:
            return _load(config, tensors, need_weights, count, advance, step, share, unload)
        finally:
            tensors.close()

    return loaded(path, make)


def loaded(path, make):
    # -> what make() makes of the file, whose path begins each error
    threshold = gc.threshold()
    gc.threshold(4096)  # what stays for good then lies close together, not among what does not
    try:
        return make()
    except MemoryError as error:
        text = str(error)
        if not text.startswith("memory allocation"):
            raise
        raise MemoryError("the model needs more than is free (%s); %s" % (text, memory.REMEDY))
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else "%s: %s" % (path, text))
    finally:
        gc.threshold(threshold)


def configuration(path, form):
    # The config of a file of this format, checked as far as all of them are alike
    from .safetensors import metadata as read_metadata

    metadata = read_metadata(path)
    if "config" not in metadata:
        raise ValueError("no attn8 config in the metadata")
    config = json.loads(memory.take(metadata, "config"))
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


def streams(path, weights, step):
    # Whether weights stay in the file
    if weights not in (None, "resident", "stream"):
        raise ValueError("weights: expected resident or stream, got %s" % weights)
    if weights is None and step:
        gc.collect()
        return 2 * os.stat(path)[6] > gc.mem_free()
    return weights == "stream"


def _load(config, tensors, need_weights, count, advance, step, share, unload):
    from .entry import Entry
    from .model import Model

    known(config, ("name", "input", "layers", "arena", "text"))
    source = memory.take(config, "input")  # what was heeded is not needed any more
    known(source, ("shape", "scale", "scales", "offsets", "axis", "format", "lengths"), "input.")
    form = source.get("format", "int8")
    if form not in ("int8", "tokens") or form == "tokens" and "scale" in source:
        raise ValueError("input.format: expected int8, or tokens without a scale, got %s" % form)
    heed = source.get("lengths", False)
    if type(heed) is not bool:
        raise ValueError("input.lengths: expected true or false, got %s" % heed)
    if "shape" not in source:
        raise ValueError("input: the config lacks shape")
    size = 1
    for n in source["shape"] if isinstance(source["shape"], list) else (0,):
        size *= n if type(n) is int and n > 0 else 0
    checks.between("input.shape: values", size, 1, 1 << 22)
    first = source["shape"][0]
    length = first if heed or step else None
    if step:
        size //= first
    scale = source.get("scale")
    code = "h" if form == "tokens" else "b"
    values = array(code, bytes(size * signals.ITEMSIZES[code]))
    arena = None
    share = share and count is None and not step
    if share and "arena" in config:
        from .arena import Arena, check

        arena = Arena(config["arena"])
    rooms = {} if share else None
    pool = None
    if step and not need_weights:
        from .pool import Pool

        pool = Pool(config["layers"])
    tokenizer = None
    if "tokenizer.pieces" in tensors:
        from .tokenizer import of

        tokenizer = of(tensors, config)
    channels = None
    inner = 1
    if "input.channels" in tensors:
        from .channels import check as check_channels

        found = tensors["input.channels"]
        channels = tensors.pop("input.channels")
        inner = check_channels(channels, found[:2], source)
    source = None
    steps = []
    ends = []
    spans = []
    names = []
    outputs = []
    places = {"input": 0}  # by name: of its values among all results
    given = {"input": (form, size)}  # and what it gives
    tokens = {"input": length}  # how many, where the layers keep them apart
    last = "input"
    left = memory.take(config, "layers")[:count]
    left.reverse()
    types = [fields.get("type") for fields in left if isinstance(fields, dict)]
    for name in types:
        find("layers", name)  # all at first: then it is known what makes none of those to come
    while left:
        if advance:
            advance()
        entry = Entry(left.pop(), tensors, outputs, step, arena or pool, rooms)
        if entry.name in places:
            raise ValueError("%s: two layers have this name" % entry.name)
        sources = entry.names("inputs", [last])
        for name in sources:
            if name not in places:
                raise ValueError("%s.inputs: there is no layer %s before it" % (entry.name, name))
        module = find("layers", entry.type)
        if not hasattr(module, "build"):
            raise ValueError("%s: unknown layer type %s" % (entry.name, entry.type))
        if len(sources) != getattr(module, "INPUTS", 1):
            raise ValueError("%s.inputs: expected %d, got %d"
                             % (entry.name, getattr(module, "INPUTS", 1), len(sources)))
        tokenwise = hasattr(module, "TOKENWISE")
        if step and not tokenwise:
            raise ValueError("%s: there are no steps with a %s, which takes more than a token"
                             % (entry.name, entry.type))
        entry.tokens = tokens[sources[0]]
        for name in sources:
            if tokens[name] != entry.tokens:
                entry.tokens = None
        takes = [given[name] for name in sources]
        layer, gives = module.build(entry, takes[0] if len(takes) == 1 else takes, need_weights)
        entry.done()
        if pool:
            pool.end(sources)
        last = entry.name
        types = types[: len(left)]
        if entry.type not in types:
            del module
            unload.but(types)
        given[last] = gives
        tokens[last] = entry.tokens
        if not tokenwise:
            keeps = entry.tokens is not None and hasattr(layer, "heed")
            tokens[last] = layer.heed(entry.tokens) if keeps else None
        places[last] = places[sources[0]]
        if layer:
            steps.append((layer, tuple([places[name] for name in sources])))
            places[last] = len(steps)
            ends.append(len(outputs))
            names.append(last)
            spans.append(arena.end() if arena else None)
    if arena:
        check(steps, spans, names)
    if count is None:
        for key in tensors:
            raise ValueError("unused tensor %s; take it out of the file" % key)
    model = Model(config["name"], values, scale, steps, outputs, ends, arena and arena.block, code,
                  length if heed and not step else None, step, channels, inner)
    if tokenizer:
        model.tokenizer, model.text = tokenizer
    return model


def known(fields, names, prefix=""):
    for key in fields:
        if key not in names:
            raise ValueError("unknown field %s%s; take it out of the config" % (prefix, key))
