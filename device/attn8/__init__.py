# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing, and looking at
# them (dir, help, TAB) imports nothing.

from .names import NAMES
from .public import look

__version__ = "0.1.0"


def __getattr__(name):
    if name not in NAMES:
        raise AttributeError(name)
    return look("attn8." + NAMES[name], name)


# What others call as they run is no stand-in
__import__("attn8.checks")
__import__("attn8.tables")
