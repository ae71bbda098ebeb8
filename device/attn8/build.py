# Makes a model of its config, layer by layer.
import json

from . import checks, memory, signals
from .find import module as find
from .kernels.objects import later, view


def _input(config, tensors, step):
    from .configuration import source

    return source(config, tensors, step)


def _entry(*arguments):
    from .entry import Entry

    return Entry(*arguments)


def _type(text):
    fields = json.loads(text)
    return fields.get("type") if isinstance(fields, dict) else None


def _unload(before, types=None):
    # Forgets what made the layers before, once no layer of such a type comes, or what read the
    # config. What unloads is not there with what reads entries, nor while layers are made.
    if types is not None and "attn8.entry" not in before:
        memory.forget("attn8.entry")
    from .unload import Unload

    unload = Unload(before)
    if types is None:
        unload.forget("configuration", "grammar", "safetensors")
    else:
        unload.but(types)
    unload.forget("unload")


def build(config, tensors, need_weights, count, advance, step, share, before):
    # See model.load; before: the modules that were there before it
    form, size, length, heed, scale, channels, inner = _input(config, tensors, step)
    _unload(before)
    code = "h" if form == "tokens" else "b"
    arena = None
    inside = share  # whether the input may lie in the arena
    if share is None:
        share = not need_weights
    share = share and not step
    if share and "arena" in config:
        from .arena import Arena

        arena = Arena(config["arena"])
    rooms = {} if share else None
    pool = None
    if step and not need_weights:
        from .pool import Pool

        pool = Pool(map(json.loads, config["layers"]))
    tokenizer = None
    if "tokenizer.pieces" in tensors:
        from .tokenizer import of

        tokenizer = of(tensors, config)
    steps = []
    ends = []
    layers = []
    counts = []  # of steps that are each one's
    spans = []
    names = []
    outputs = []
    places = {"input": 0}  # by name: of its values among all results
    given = {"input": (form, size)}  # and what it gives
    tokens = {"input": length}  # how many, where the layers keep them apart
    last = "input"
    left = memory.take(config, "layers")
    if count is not None:
        left = left[: checks.between("count", count, 1, len(left))]
    left.reverse()
    types = [_type(text) for text in left]
    if advance and not callable(advance):
        checks.refuse("function", "advance", advance)
    while left:
        if advance:
            advance()
        entry = _entry(json.loads(left.pop()), tensors, outputs, step, arena or pool, rooms)
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
        heeds = getattr(module, "HEEDS", 0)
        entry.tokens = tokens[sources[heeds]]
        for name in sources:
            if not heeds and tokens[name] != entry.tokens:
                entry.tokens = None
        takes = [given[name] for name in sources]
        layer, gives = module.build(entry, takes[0] if len(takes) == 1 else takes, need_weights)
        entry.done()
        tensors.listing.trim()
        # What a part of a layer computes can be read before the next one runs
        parts = layer.parts() if arena and hasattr(layer, "parts") else [(layer, 0)]
        if pool:
            # What nothing asks for any more goes at once, and leaves its place to what stays
            pool.end(sources)
            del outputs[:-1]
            for name in list(given):
                if pool.done(name):
                    del given[name], tokens[name]
        last = entry.name
        types = types[: len(left)]
        given[last] = gives
        tokens[last] = entry.tokens
        if not tokenwise:
            keeps = entry.tokens is not None and hasattr(layer, "heed")
            tokens[last] = layer.heed(entry.tokens) if keeps else None
        over = entry.type not in types
        del module, entry
        if over:
            _unload(before, types)
        places[last] = places[sources[0]]
        if layer:
            taken = tuple([places[name] for name in sources])
            for call, after in parts:
                steps.append((call, taken))
                taken = (len(steps),)
                ends.append(len(outputs) - after)
            layers.append(layer)
            counts.append(len(parts))
            places[last] = len(steps)
            if arena:
                names.append(last)
                spans.append(arena.end())
    at = None
    if arena:
        from .placing import check

        at = check(steps, counts, spans, names, arena.size, size * signals.ITEMSIZES[code])
    del spans, names
    if count is None:
        for key in tensors:
            raise ValueError("unused tensor %s; take it out of the file" % key)
    tensors.listing = None
    if pool:
        ends = []  # other outputs have been in the same memory
    from .run import Model

    # Its memory comes with the arena's, or is a part of it (see placing.py)
    n = size * signals.ITEMSIZES[code]
    start = 0
    if inside and arena and at is not None:
        tensors.own = False
        start = at // signals.ITEMSIZES[code]
        room = memoryview(arena.block)[at : at + n]
    else:
        room = memoryview(later(n))
    values = view(room, ord(code), start, size)
    model = Model(config["name"], values, scale, steps, outputs, ends, arena and arena.block, code,
                  length if heed and not step else None, step, channels, inner,
                  list(zip(layers, counts)))
    if tokenizer:
        model.tokenizer, model.text = tokenizer
    return model
