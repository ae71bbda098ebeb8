"""A stream of int16 on an LX7 without MAC16 and loops, which count in the frame."""

from .stream_xtensa import add, narrow, settle, widen

__all__ = ["add", "narrow", "settle", "widen"]
