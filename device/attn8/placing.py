# What comes last of a load: whether the places that a file gives its layers meet, and the memory
# that a model computes in, when what made its layers is gone: neither is there with the other.
from . import memory
from .kernels import objects
from .signals import ITEMSIZES

ALIGNMENT = 16  # bytes, as in arena.py
MODULE = type(memory)


def check(steps, layers, places, names, block, size):
    # steps: (call, values that it takes) each; value 0 is the input, and value i + 1 what step i
    # makes. layers: of each how many steps are its parts; places: of each, what it takes from the
    # arena, its result last. A result is needed until the last step that takes it, one that none
    # takes until the end; the other places in some of the layer's parts. -> where an input of
    # `size` bytes can lie in a block of so many until the last step that takes it, None if nowhere.
    last = [len(steps)] * (len(steps) + 1)
    for i, (_, values) in enumerate(steps):
        for value in values:
            last[value] = i
    at = 0
    known = []
    for parts, own, name in zip(layers, places, names):
        for i, (start, end, over, *times) in enumerate(own):
            first = at + (times[0] if times else 0)
            until = at + (times[1] if len(times) > 1 else parts - 1)
            result = i == len(own) - 1
            if result:
                until = last[at + parts]
            for other in known:
                if not (start < other[1] and other[0] < end):
                    continue
                if until < other[2] or other[3] < first:
                    continue
                if not (over and other[4] and other[3] == at and other[:2] == (start, end)):
                    raise ValueError("%s.at: its memory is still that of %s; quantize the model "
                                     "again" % (name, other[5]))
            known.append((start, end, first, until, result, name))
        at += parts
    start = 0
    for other in sorted(known):
        if other[2] <= last[0]:
            if start + size <= other[0]:
                break
            start = max(start, other[1] + ALIGNMENT - 1 & -ALIGNMENT)
    return start if start + size <= block else None


def place(model, own):
    # model: of build.py. `objects.later` made its arena, and its input where that is its own
    if own:
        objects.place(model.input, _room("input", len(model.input) * ITEMSIZES[model.code]))
    if model.arena:
        room = _room("arena", len(model.arena))
        objects.place(model.arena, room)
        _within(model, room, [])


def _room(what, size):
    memory.require(what, size)
    try:
        return bytearray(size)
    except MemoryError:
        raise MemoryError("%s needs %d bytes of memory in one piece; take a smaller model, fewer "
                          "tokens or another core (see attn8 plan)" % (what, size))


def _within(x, room, seen):
    # All that x reaches: the arena's views are in attributes, lists, tuples and dicts
    kind = type(x)
    if kind is memoryview:
        objects.place(x, room)
    elif kind is dict:
        for value in x.values():
            _within(value, room, seen)
    elif kind is list or kind is tuple:
        for value in x:
            _within(value, room, seen)
    elif kind is not type and kind is not MODULE and hasattr(x, "__dict__"):
        if not any([x is other for other in seen]):
            seen.append(x)
            _within(x.__dict__, room, seen)
