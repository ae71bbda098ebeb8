# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing, and looking at
# them (dir, help, TAB) imports nothing.

__version__ = "0.1.0"


def __getattr__(name):
    from .names import NAMES
    from .public import look

    if name not in NAMES:
        raise AttributeError(name)
    return look("attn8." + NAMES[name], name)


# What other modules of the package call is no stand-in
for _name in "checks", "find", "memory", "signals", "tables", "forms", "cores":
    __import__("attn8." + _name)
