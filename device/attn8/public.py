# Public names, whose modules are imported when they are used and not when they are looked at: dir
# and TAB look up every word that the interpreter knows.
import sys


class Public:
    # Stands for a module, class or function of the package until its module is there

    def __init__(self, path, name):
        self._path = path
        self._name = name

    def __repr__(self):  # which help of an object prints
        return "attn8.%s; attn8.help('%s') says what it is" % (self._path[6:], self._name)

    def __call__(self, *arguments, **keywords):
        return _value(self._path, self._name)(*arguments, **keywords)

    def __getattr__(self, name):
        return getattr(_value(self._path, self._name), name)


class Names:
    # What MicroPython's help(attn8) prints of the public names

    def __repr__(self):
        from .names import NAMES

        return ", ".join(sorted(NAMES)) + "; attn8.help() says what each is"


def look(path, name):
    # What the module at `path` has under a name, or itself under its own; what stands for it until
    # the module is imported
    if path in sys.modules:
        return _value(path, name)
    return Public(path, name)


def _value(path, name):
    # What a module that is there fails with as it is imported is said as it is
    try:
        module = __import__(path, None, None, [name])
    except ImportError as error:
        if "'attn8." in str(error):
            raise ImportError("%s: this board has what its models need; attn8 deploy brings all"
                              % error)
        raise
    return module if path.endswith("." + name) else getattr(module, name)
