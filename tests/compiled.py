"""Programs of tests that reach into the package of a board, where internal names are others."""

from attn8_host.bundle import outside
from attn8_host.deploy import compiled_names
from attn8_host.rename import renamed


def compiled(program):
    """A program for a board, which says internal names as its .mpy files do (see rename.py)."""
    return renamed(outside(program).encode(), compiled_names()).decode()
