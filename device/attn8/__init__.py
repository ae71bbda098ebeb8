# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing.

__version__ = "0.1.0"


def __getattr__(name):
    from .names import NAMES

    if name not in NAMES:
        raise AttributeError(name)
    # What a module that is there fails with as it is imported is said as it is
    value = __import__("attn8." + NAMES[name], None, None, [name])
    if name != NAMES[name]:
        value = getattr(value, name)
    globals()[name] = value
    return value
