# Gives a model the memory that it computes in, when what made its layers is gone: neither is there
# with the other.
from . import memory, signals
from .kernels import objects

MODULE = type(memory)


def place(model):
    # model: of build.py, whose input and arena `objects.later` made
    room = _room("input", len(model.input) * signals.ITEMSIZES[model.code])
    objects.place(model.input, room)
    if model.arena:
        room = _room("arena", len(model.arena))
        objects.place(model.arena, room)
        _within(model, room, [])


def _room(what, size):
    memory.require(what, size)
    try:
        return bytearray(size)
    except MemoryError:
        raise MemoryError("%s needs %d bytes of memory in one piece; %s"
                          % (what, size, memory.REMEDY))


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
