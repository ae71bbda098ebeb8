"""Functions of one int8 value on an LX7 without MAC16 and loops, which count in the frame."""

from .lookup_xtensa import lookup

__all__ = ["lookup"]
