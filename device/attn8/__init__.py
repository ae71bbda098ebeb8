# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing, and looking at
# them (dir, help, TAB) imports nothing.

__version__ = "0.1.0"


class Names:
    # What MicroPython's help(attn8) prints: the names, which are then forgotten again

    def __repr__(self):
        from . import memory
        from .names import NAMES

        memory.forget("attn8.names")
        return ", ".join(sorted(NAMES)) + "; attn8.help() says what each is"


NAMES: object = Names()


def __getattr__(name):
    # A board that only runs models never needs the names
    global NAMES
    from .names import NAMES as names
    from .public import look

    NAMES = names  # where help(attn8) lists them
    if name not in names:
        raise AttributeError(name)
    return look("attn8." + names[name], name)


def said(line):
    # Of the texts that errors say: in .mpy files a board would keep them in memory, and the host
    # puts such a call in their place (attn8_host/slim.py)
    with open("%s/said.txt" % __path__) as file:
        for _ in range(line):
            file.readline()
        return file.readline()[:-1]


# What other modules of the package call is no stand-in
for _name in "checks", "memory", "signals", "tables", "forms":
    __import__("attn8." + _name)
