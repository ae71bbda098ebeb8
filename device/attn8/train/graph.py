# Makes the layers of a model that trains, which may each take what any before them give.
from .. import checks
from ..entry import Entry as Fields
from ..find import module as find
from .rooms import Rooms


class Entry(Fields):
    params = None  # those of the layers before it
    asked = False  # whether anyone asks for the gradient of what the layer takes

    def wide(self):
        # Whether its int8 form takes int16
        bits = self.integer("activation_bits", 8)
        if bits not in (8, 16):
            raise ValueError("%s.activation_bits: expected 8 or 16, got %d" % (self.name, bits))
        return bits == 16


def build(f, config, unload=None):
    # See model.Model -> layers; their parameters; of each layer, the places of what it takes, a
    # place counting results, 0 being the input; of each result its size, whether its gradient leads
    # to parameters, and see _sums; of each layer that is told a length, the places of that and of
    # what it makes of it; how many tokens an input has at most, where it may have fewer. f.rooms
    # are still to be settled. unload: forgets what made the layers of a type once all are.
    width = checks.between("input", config["input"]["size"], 1, 1 << 15)
    most = config["input"].get("tokens")
    if most is not None:
        checks.between("input.tokens", most, 1, width)
    layers, params, taken, heeding = [], [], [], []
    sizes = [width]
    asked = [False]
    tokens = [most]  # where layers keep them apart
    lengths = [0]  # of each result, the place of its length
    places = {"input": 0}
    last = "input"
    direct = config["optimizer"].get("direct", False)
    f.rooms = Rooms(direct, config.get("recompute", False))
    for fields in config["layers"]:
        entry = Entry(fields, {}, [])
        if entry.name in places:
            raise ValueError("%s: two layers have this name" % entry.name)
        sources = entry.names("inputs", [last])
        for name in sources:
            if name not in places:
                raise ValueError("%s.inputs: there is no layer %s before it" % (entry.name, name))
        module = find("train.layers", entry.type)
        if not hasattr(module, "build"):
            raise ValueError("%s: unknown layer type %s" % (entry.name, entry.type))
        arity = getattr(module, "INPUTS", 1)
        if len(sources) != arity:
            raise ValueError("%s.inputs: expected %d, got %d" % (entry.name, arity, len(sources)))
        takes = tuple([places[name] for name in sources])
        heeded = takes[getattr(module, "HEEDS", 0)]
        entry.params = params  # type: ignore[assignment]
        entry.asked = any([asked[i] for i in takes])
        entry.tokens = tokens[heeded]
        f.rooms.layer = len(sizes)
        layer, width = module.build(f, entry, *[sizes[i] for i in takes])
        entry.done()
        own = layer.collect_params()
        if direct and not getattr(layer, "DIRECT", not own):
            raise ValueError("%s: a layer of type %s does not train as soon as it has gradients; "
                             "leave \"direct\" out of the optimizer" % (entry.name, entry.type))
        params += own
        last = entry.name
        places[last] = len(sizes)
        lengths.append(lengths[heeded])
        if hasattr(layer, "heed") and most is not None:
            heeding.append((lengths[heeded], places[last]))
            lengths[-1] = places[last]
        if not hasattr(module, "TOKENWISE"):
            keeps = hasattr(layer, "heed") and entry.tokens is not None
            entry.tokens = layer.heed(entry.tokens) if keeps else None
        tokens.append(entry.tokens)
        layers.append(layer)
        taken.append(takes)
        sizes.append(width)
        asked.append(bool(own) or entry.asked)
        if unload:
            del module
            left = config["layers"][len(layers) :]
            unload.trains([each.get("type") for each in left if isinstance(each, dict)])
    sums = _sums(f, layers, taken, asked, sizes)
    return layers, params, taken, sizes, asked, sums, heeding, most


def _sums(f, layers, taken, asked, sizes):
    # Of each result that several take, where their gradients are added up: None where it is what
    # one of them made for itself, an array where that one only passes on what it was given
    sums = [None] * len(sizes)
    found = [False] * len(sizes)
    at = len(layers)
    while at:
        at -= 1
        for place in taken[at]:
            if asked[place]:
                if found[place] and hasattr(layers[at], "PASSES") and sums[place] is None:
                    f.rooms.layer = place
                    sums[place] = f.rooms.take("sum", sizes[place])
                found[place] = True
    return sums
