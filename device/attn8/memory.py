# What cannot fit is refused before any of it is made, and what is needed no more is let go.
import gc
import sys


def require(what, size):
    # size: the bytes of the arrays that are about to be made
    if size > gc.mem_free():
        gc.collect()
        free = gc.mem_free()
        if size > free:
            raise MemoryError("%s needs %d bytes of memory and %d are free; take a smaller model, "
                              "fewer tokens or another core (see attn8 plan)" % (what, size, free))


def take(names, name):
    # -> the value of a dict's entry, which is gone; after pop and del its place would hold it still
    value = names[name]
    names[name] = None
    del names[name]
    return value


def forget(path):
    # -> a module, which is no longer there: who imports it gets another
    parent, _, name = path.rpartition(".")
    if parent in sys.modules:
        take(sys.modules[parent].__dict__, name)
    return take(sys.modules, path)
