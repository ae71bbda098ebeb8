# What only loads a model is forgotten once it has: what runs needs its memory.
import gc
import sys

from . import memory

LOADERS = ("arena", "build", "configuration", "entry", "find", "grammar", "loading", "pool",
           "safetensors", "tensors", "unload")
# Modules of layers and cores have functions that make layers, which are forgotten, kernels, whose
# type is another one, and classes; of a class these make its objects.
MAKERS = "layers", "cores", "dense16", "lookup", "choice", "run"
MAKING = ("__init__", "__new__", "room", "parts", "take", "from_scales", "from_floats", "_room",
          "array")
CALLS = ("__call__",)  # of a core, which checks what a layer gives to `run` unchecked
TRAINING = "attn8.train.layers.", "attn8.train.cores", "attn8.train.pointwise"  # MAKERS as well
LAST = "requantize", "real", "learned"  # that those have for the end of a training alone
# What most layers share is imported once
COMMON = ["attn8.layers", "attn8.choice", "attn8.layers.dense", "attn8.dense16", "attn8.lookup"]
FUNCTION = type(lambda: None)


class Unload:
    # Forgets such modules where they were imported since this was made; whoever imports one again
    # gets a whole one. What was there before, or is among the paths `before`, stays as it is.

    def __init__(self, before=None):
        self._before = before
        if before is None:
            self._before = set(sys.modules)
            self._before.discard("attn8.unload")

    def _own(self, parts):
        # What lies in a package comes before it, which would hold it
        found = [path for path in sys.modules if path[:6] == "attn8." and path not in self._before
                 and path.split(".")[1] in parts]
        found.sort(reverse=True)
        return found

    def strip(self, *parts):
        for path in self._own(parts):
            _strip(path)

    def all(self):
        self.strip(*MAKERS)
        self.forget(*LOADERS)
        if "attn8.kernels" in sys.modules:  # it has nothing, and what lies in it stays
            memory.forget("attn8.kernels")
        gc.collect()

    def made(self):
        # What trains is made: it needs the memory of what made it. Functions that its methods call
        # are among those of other modules than layers'
        from .train.layers import UNCALLED

        for path in self._own(("train",)):
            _strip(path, UNCALLED, not path.startswith(TRAINING))
        self.all()

    def trains(self, types):
        # A layer that trains is made, and layers of these types are still to come
        for path in self._own(("train",)):
            _clear(path, LAST, True)
        from .train.layers import UNCALLED

        for path in self._spare(TRAINING[0], types, [TRAINING[0] + "dense"]):
            if path.startswith(TRAINING[0]):
                _strip(path, UNCALLED)

    def forget(self, *parts):
        for path in self._own(parts):
            memory.forget(path)

    def but(self, types):
        # Layers of these types are still to come: what makes others is forgotten
        for path in self._spare("attn8.layers.", types, COMMON):
            _strip(path)

    def _spare(self, folder, types, common):
        # -> the paths of modules that no layer of these types needs
        parts = ("train",) if folder == TRAINING[0] else MAKERS
        needed = ["%s%s" % (folder, name) for name in types]
        kept = needed + common
        spare = [path for path in self._own(parts) if path not in kept]
        for path in needed:
            if path not in sys.modules:
                continue  # it imports what it needs, which is whole again
            for value in sys.modules[path].__dict__.values():
                for other in list(spare):
                    if _is_of(value, other, sys.modules[other]):
                        spare.remove(other)
                        needed.append(other)
        return spare


def _is_of(value, path, module):
    # Whether it is this module, or one of its own functions and classes
    if type(value) is FUNCTION:
        return value.__globals__ is module.__dict__
    return value is module or type(value) is type and getattr(value, "__module__", 0) == path


def _strip(path, forgotten=MAKING, named=False):
    _clear(path, forgotten, named)
    memory.forget(path)


def _clear(path, forgotten, named):
    # named: of functions, too, only those of these names
    module = sys.modules[path]
    core = path[:12] == "attn8.cores."
    names = module.__dict__
    for key, value in names.items():
        if type(value) is type and _is_of(value, path, module):
            called = core and "run" in value.__dict__
            for name in forgotten + CALLS if called else forgotten:
                if name in value.__dict__:
                    setattr(value, name, None)
        elif type(value) is FUNCTION and (not named or key in forgotten):
            names[key] = None
