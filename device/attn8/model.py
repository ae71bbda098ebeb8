# A model is a list of layers that a safetensors file describes: its metadata holds a JSON config.
import gc
import json
import os
from array import array

from . import checks, find, memory, signals

STREAMED = 1024  # bytes of weights that may stay in a file


class Model:
    # Runs its layers in turn over one input, the array `input` of int8; one step of it stands for
    # `scale`, None where the file does not say. `outputs` lists what every layer computed last, as
    # (name, typecode, array), which is overwritten by the next call or, in an arena, by another
    # layer. A call allocates nothing.
    #
    # steps: (layer, places of its inputs) each; a place counts results, 0 being the input. ends: of
    # each step, how many of the outputs are made once it ran. arena: what the layers share (see
    # arena.py), None where each has buffers of its own. code: the typecode of the input, "h" of
    # token ids. tokens: how many an input has at most, where it may have fewer. step: the layers
    # are made for one token at a time (see `load`). channels, inner: how `feed` makes the input
    # (see feed.feed), if the file says it. tokenizer, text: of a model of text, and (mult, shift)
    # of a Sampler.

    tokenizer = text = None

    def __init__(self, name, input, scale, steps, outputs, ends, arena=None, code="b", tokens=None,
                 step=False, channels=None, inner=1):
        self.name = name
        self.scale = scale
        self.code = code
        self.input = input
        self.layers = [layer for layer, _ in steps]
        self.outputs = outputs
        self.ends = ends
        self.arena = arena
        self.tokens = tokens
        self._one = step
        self._steps = steps
        if step:
            self._steps = [(getattr(layer, "step", layer), places) for layer, places in steps]
        self._channels = channels
        self._inner = inner
        self._feed = self._batch = None  # imported where they are asked for
        self._values = [self.input] + [None] * len(steps)
        # The layers that are told a length, and its places before and behind each
        self._lengths = [tokens] + [None] * len(steps)
        self._heeding = []
        if tokens:
            of = [0]  # of each value, the place of its length
            for layer, places in steps:
                of.append(of[places[0]])
                if hasattr(layer, "heed"):
                    self._heeding.append((layer, of[-1], len(of) - 1))
                    of[-1] = len(of) - 1

    def __call__(self, x=None, length=None):
        # x: the input, or None where it was written to self.input. length: how many of its tokens
        # count, by default all; those behind are padding. Only where the config says "lengths".
        if x is not None:
            checks.values("input", x, len(self.input), False, self.code)
            if self.arena:
                checks.apart("input", x, len(x) * signals.ITEMSIZES[self.code], "arena",
                             self.arena.block, self.arena.size)
        self.begin(x, length)
        return self.run(0, len(self._steps))

    def begin(self, x=None, length=None):
        # What `run` takes from now on
        self._values[0] = self.input if x is None else x
        if self.tokens:
            self._heed(self.tokens if length is None else length)
        elif length is not None:
            raise ValueError('length: the model takes none; its config says no "lengths"')

    def run(self, at, end):
        # The steps from `at` up to `end`, after those before; -> what the last of them gives
        values = self._values
        x = None
        while at < end:
            layer, places = self._steps[at]
            if len(places) == 1:
                x = layer(values[places[0]])
            elif len(places) == 2:
                x = layer(values[places[0]], values[places[1]])
            else:  # a call with *arguments would allocate
                x = layer(values[places[0]], values[places[1]], values[places[2]])
            at += 1
            values[at] = x
        return x

    def _heed(self, length):
        lengths = self._lengths
        lengths[0] = checks.between("length", length, 1, self.tokens)
        for layer, place, gives in self._heeding:
            if lengths[place] is None:  # behind a pooling there is none
                lengths[gives] = None
            else:
                lengths[gives] = layer.heed(lengths[place])

    def feed(self, values):
        # Writes what a sensor gives, array('f'), array('h'), array('i') or a list of numbers, to
        # self.input and returns that, for model(model.feed(values))
        if self._feed is None:
            from .feed import feed

            if self._channels is None:
                raise ValueError("feed: the model's file has no input.channels; make it again with "
                                 "attn8 quantize, or write int8 to model.input")
            self._feed = feed
        return self._feed(values, self._channels, self._inner, self.input)

    def batch(self, x, out, lengths=None):
        # Several inputs, one behind another in x; the last layer's results go to `out`, an array of
        # their type, one behind another as well. lengths: a list or an array, one each. -> out
        if self._batch is None:
            from .batches import batch

            self._batch = batch
        return self._batch(self, x, out, lengths)

    def step(self, x=None):
        # The next token -> its results; of a model that was loaded with step=True
        if not self._one:
            raise ValueError("step: load the model with step=True")
        return self(x)

    def prefill(self, tokens):
        # The next tokens, array('h') of ids, as so many steps -> the results of the last one. Of
        # the others no more is computed than what comes after them needs.
        if not self._one or self.code != "h":
            raise ValueError("prefill: load a model of token ids with step=True")
        checks.values("tokens", tokens, None, False, "h")
        checks.between("tokens", len(tokens), 1, 1 << 15)
        end = len(self.layers)
        while end and not hasattr(self.layers[end - 1], "reset"):
            end -= 1
        for i in range(len(tokens) - 1):
            self.input[0] = tokens[i]
            self.begin()
            self.run(0, end)
        self.input[0] = tokens[len(tokens) - 1]
        return self()

    def reset(self):
        # The next token is the first one of a new sequence
        if not self._one:
            raise ValueError("reset: load the model with step=True")
        for layer in self.layers:
            if hasattr(layer, "reset"):
                layer.reset()


def load(path, need_weights=False, count=None, advance=None, step=False, share=None,
         weights=None):
    # Loads a model, or its first `count` layers; need_weights keeps all scores and attention
    # weights (see cores); advance() is called before each layer. step: makes the layers for one
    # token at a time, for model.step; what mixes tokens otherwise than by attention to those before
    # is refused. share: whether the layers share the arena that the file has places in, so that
    # after a call only the results that no layer takes are there to be read; None: unless
    # need_weights asks for more to be kept. weights: "resident", or "stream": those of int16
    # products stay in the file, and are read as they are needed; None: resident where they leave
    # half of the free memory, or the model takes no steps. What trains a model has a loader of its
    # own, attn8.train.load.
    def make():
        return _load(path, configuration(path, "attn8"), need_weights, count, advance, step,
                     not need_weights if share is None else share, streams(path, weights, step))

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


def streams(path, weights, step):
    # Whether weights stay in the file
    if weights not in (None, "resident", "stream"):
        raise ValueError("weights: expected resident or stream, got %s" % weights)
    if weights is None and step:
        gc.collect()
        return 2 * os.stat(path)[6] > gc.mem_free()
    return weights == "stream"


def _load(path, config, need_weights, count, advance, step, share, stream):
    from .entry import Entry
    from .safetensors import read

    known(config, ("name", "input", "layers", "arena", "text"))
    source = config["input"]
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
    checks.between("input.shape: values", size, 1, 1 << 15)
    first = source["shape"][0]
    length = first if heed or step else None
    if step:
        size //= first
    scale = source.get("scale")
    code = "h" if form == "tokens" else "b"
    tensors, shapes = read(path, STREAMED if stream else 0)
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
    channels = tensors.pop("input.channels", None)
    inner = 1
    if channels:
        from .feed import check as check_channels

        inner = check_channels(channels, shapes["input.channels"], source)
    steps = []
    ends = []
    spans = []
    names = []
    outputs = []
    places = {"input": 0}  # by name: of its values among all results
    given = {"input": (form, size)}  # and what it gives
    tokens = {"input": length}  # how many, where the layers keep them apart
    last = "input"
    left = config["layers"][:count]
    config["layers"] = None  # what a layer was made of is not needed any more
    left.reverse()
    while left:
        if advance:
            advance()
        entry = Entry(left.pop(), tensors, shapes, outputs, step, arena or pool, rooms)
        if entry.name in places:
            raise ValueError("%s: two layers have this name" % entry.name)
        sources = entry.names("inputs", [last])
        for name in sources:
            if name not in places:
                raise ValueError("%s.inputs: there is no layer %s before it" % (entry.name, name))
        module = find.module("layers", entry.type)
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
        for key in [key for key in shapes if key.startswith(last + ".") and key not in tensors]:
            del shapes[key]
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
    model = Model(config["name"], values, scale, steps, outputs, ends, arena, code,
                  length if heed and not step else None, step, channels, inner)
    if tokenizer:
        model.tokenizer, model.text = tokenizer
    return model


def known(fields, names, prefix=""):
    for key in fields:
        if key not in names:
            raise ValueError("unknown field %s%s; take it out of the config" % (prefix, key))
