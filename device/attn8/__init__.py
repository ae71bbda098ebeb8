# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing, and looking at
# them (dir, help, TAB) imports nothing.

# What other modules of the package call is no stand-in
from . import checks, forms, memory, signals, tables  # noqa: F401

__version__ = "0.1.0"


def __getattr__(name):
    from .names import NAMES

    if name == "__all__":
        raise AttributeError("* takes too much memory: name what you use")
    if name not in NAMES:
        raise AttributeError(name)
    from .public import look

    return look("attn8." + NAMES[name], name)


def said(line):
    # Of the texts that errors say: in .mpy files a board would keep them in memory, and the host
    # puts such a call in their place (attn8_host/slim.py)
    with open(str(__path__) + "/said.txt") as file:
        for _ in range(line):
            file.readline()
        return file.readline()[:-1]


# dir and TAB find the words that the interpreter knows when they begin, so the public names are
# there from the start, but in a host's session: its word `serve` in __main__ says that none looks
if not hasattr(__import__("__main__"), "serve"):
    from .names import NAMES as _  # noqa: F401 - public has its names
    from .public import Names

    NAMES: object = Names()
    del Names
