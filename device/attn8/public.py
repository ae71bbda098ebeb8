# Public names, whose modules are imported when they are used and not when they are looked at: dir
# and TAB look up every word that the interpreter knows.
import sys


class Public:
    # Stands for a module, class or function of the package until its module is there, and for a
    # function always. name: in its module, or in a class or module there.

    def __new__(cls, path, name, within=None):
        # What has one as its base asks its type for a class: (name, bases, what it has)
        if within is None:
            return object.__new__(cls)
        bases = [_value(base._path, base._name) if type(base) is Public else base for base in name]
        return type(path, tuple(bases), within)

    def __init__(self, path, name):
        self._path = path
        self._name = name

    def __repr__(self):  # which help of an object prints
        return "attn8.%s; attn8.help('%s') says what it is" % (self._path[6:], self._name)

    def __call__(self, *arguments, **keywords):
        what = _value(self._path, self._name)
        try:
            return what(*arguments, **keywords)
        except TypeError as error:
            # The package's own say what is expected. Arguments that are missing, or that no one
            # knows, are MicroPython's to refuse, which does not say of what
            if ": expected" in str(error) or "attn8.help" in str(error):
                raise
            raise TypeError("%s: %s; attn8.help('%s') says what it takes"
                            % (self._name, error, self._name))

    def __getattr__(self, name):
        return _stand_in(getattr(_value(self._path, self._name), name), self._path,
                         "%s.%s" % (self._name, name))


class Names:
    # What MicroPython's help(attn8) prints of the public names

    def __repr__(self):
        from .names import NAMES

        return ", ".join(sorted(NAMES)) + "; attn8.help() says what each is"


def look(path, name):
    # What the module at `path` has under a name, or itself under its own; what stands for it until
    # the module is imported
    if path in sys.modules:
        return _stand_in(_value(path, name), path, name)
    return Public(path, name)


def _stand_in(value, path, name):
    return Public(path, name) if callable(value) and type(value) is not type else value


def _value(path, name):
    # What a module that is there fails with as it is imported is said as it is
    own, _, inner = name.partition(".")
    try:
        module = __import__(path, None, None, [own])
    except ImportError as error:
        if "'attn8." in str(error):
            raise ImportError("%s: this board has what its models need; attn8 deploy brings all"
                              % error)
        raise
    value = module if path.endswith("." + own) else getattr(module, own)
    return getattr(value, inner) if inner else value
