# What is found by its name: layers and cores, the module of that name in a folder of the package,
# and the tensors of a file.
from . import memory


def module(folder, name):
    # The module attn8.FOLDER.NAME; None where there is none. A module that is there and cannot be
    # imported raises what its import raised.
    if not isinstance(name, str) or not 0 < len(name) < 64 or name[0] == "_":
        return None
    for character in name:
        if not (character.isalpha() or character.isdigit() or character == "_"):
            return None
    path = "attn8.%s.%s" % (folder, name)
    try:
        return __import__(path, None, None, [name])
    except ImportError as error:
        said = str(error)
        if path in said or "'" not in said:  # firmware with terse errors names no module
            return None
        raise


def cls(found, name):
    # The class of a module that has its name: LocalGlobal in local_global
    wanted = name.replace("_", "")
    for key in dir(found):
        if key.lower() == wanted and isinstance(getattr(found, key), type):
            return getattr(found, key)
    return None


class Listing:
    # What a file says of its tensors, by name (typecode, shape, place, values) each, and what a
    # layer leaves for another one, (typecode, shape, values). A language model has a hundred and
    # fifty, so this takes a few objects, not some for each: names has a zero before and behind each
    # name, places where each begins, 0 once it is taken, and kind which of `kinds` it is, each a
    # typecode and a shape.

    def __init__(self, names, places, kind, kinds):
        self._names, self._places, self._kind, self._kinds = names, places, kind, kinds
        self._left = {}

    def _find(self, name):
        # -> its number, -1 where it is none of those that are there still
        at = self._names.find(b"\0%s\0" % name.encode())
        if at < 0:
            return -1
        i = self._names.count(b"\0", 0, at)
        return i if self._places[i] else -1

    def __contains__(self, name):
        return name in self._left or self._find(name) >= 0

    def __iter__(self):
        names = self._names[1:-1].split(b"\0")
        return iter([str(name, "utf-8") for name, at in zip(names, self._places) if at]
                    + list(self._left))

    def __getitem__(self, name):
        if name in self._left:
            return self._left[name]
        i = self._find(name)
        if i < 0:
            raise KeyError(name)
        code, shape = self._kinds[self._kind[i]]
        n = 1
        for size in shape:
            n *= size
        return code, shape, self._places[i], n

    def __setitem__(self, name, value):
        self._left[name] = value

    def take(self, name):
        # As [name], which is gone
        value = self[name]
        if name in self._left:
            memory.take(self._left, name)
        else:
            self._places[self._find(name)] = 0
        return value

    def trim(self):
        # Lets go what is said of those before the first one that is there still
        n = at = 0
        while n < len(self._places) and not self._places[n]:
            at = self._names.find(b"\0", at + 1)
            n += 1
        if n:
            self._names = self._names[at:]
            self._places, self._kind = self._places[n:], self._kind[n:]
