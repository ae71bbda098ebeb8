# Makes the layers of a model that trains, which may each take what any before them give.
from .. import checks
from ..entry import Entry as Fields
from ..find import module as find
from .lifetimes import Rooms


class Entry(Fields):
    params = None  # those of the layers before it
    asked = False  # whether anyone asks for the gradient of what the layer takes

    def wide(self):
        # Whether its int8 form takes int16
        bits = self.integer("activation_bits", 8)
        if bits not in (8, 16):
            raise ValueError("%s.activation_bits: expected 8 or 16, got %d" % (self.name, bits))
        return bits == 16


def build(f, config):
    # See model.Model -> layers; their parameters; of each layer, the places of what it takes, a
    # place counting results, 0 being the input; of each result its size, whether its gradient leads
    # to parameters, and see _sums; of each layer that is told a length, the places of that and of
    # what it makes of it; how many tokens an input has at most, where it may have fewer; of each
    # layer the places of those that are called again before its backward pass, and before its
    # forward pass (see _again). f.rooms are still to be settled.
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
    sums = _sums(f, layers, taken, asked, sizes)
    again = fresh = [()] * len(layers)
    if f.rooms.recompute:
        again, fresh = _again(f.rooms, layers, taken, asked)
    return layers, params, taken, sizes, asked, sums, heeding, most, again, fresh


def _again(rooms, layers, taken, asked):
    # A part of a graph ends where one result is all that those behind it take. What it keeps for
    # its backward pass is let go, and made again before that; not of the last one, whose comes at
    # once. Within a part, what the first of its backward passes does not read is made once more
    # before the one that does, where that is by one layer. What a SOURCE gives is made again before
    # each pass that reads it, also forwards, but of the next layer and the last one. A place below
    # 0 is of a layer of which nobody reads the result again, or of a source.
    count = len(taken)
    last = [0] * (count + 1)  # of each result, the place of the last layer that takes it
    reads = [()] + [getattr(layer, "READS", ("x", "out")) for layer in layers]
    read = []  # the places of results that a backward pass reads
    for i in range(1, count + 1):
        if "out" in reads[i]:
            read.append(i)
        for place in taken[i - 1]:
            last[place] = i
            if "x" in reads[i]:
                read.append(place)
    keeping = rooms.keeping()
    again = [tuple()] * count
    first = 1
    kept = None
    for end in range(1, count + 1):
        if max([0] + last[:end]) > end:
            continue
        inner = [i for i in range(first, end) if asked[i] and 0 < last[i] <= end]
        keeps = [i for i in range(first, end + 1) if asked[i] and i in keeping]
        made = _made([i for i in inner if i in read], keeps, inner, taken)
        again[end - 1] = tuple([i if i in made else -i for i in range(first, end + 1)
                                if i in made or i in keeps])
        if again[end - 1]:
            kept = end - 1
        fresh = True
        for i in range(end, first, -1):
            places = [place for place in taken[i - 1] if place in inner]
            if asked[i] and "x" in reads[i] and places:
                chain = _made(places, (), inner, taken)
                if not fresh and len(chain) == 1 and chain[0] not in keeping:
                    again[i - 1] = tuple(chain)
                fresh = False
        first = end + 1
    if kept is not None:
        again[kept] = ()
    forwards = [tuple()] * count
    for j in range(1, count):
        if hasattr(layers[j - 1], "SOURCE"):
            for i in range(j + 1, count):
                wants = taken[i - 1] if asked[i] and "x" in reads[i] else ()
                for other in again[i - 1]:
                    wants += taken[abs(other) - 1]
                if j in wants:
                    again[i - 1] = (-j,) + again[i - 1]
                if j in taken[i - 1] and i > j + 1:
                    forwards[i - 1] += (-j,)
    return again, forwards


def _made(wanted, keeps, inner, taken):
    # -> the places of results that are made where these are, and what these layers keep: also what
    # they take of a part's inner ones
    made = list(wanted)
    left = made + list(keeps)
    while left:
        for place in taken[left.pop() - 1]:
            if place in inner and place not in made:
                made.append(place)
                left.append(place)
    made.sort()
    return made


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
