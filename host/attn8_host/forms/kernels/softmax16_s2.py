"""Softmax of int16 attention on an LX7 without MAC16 and loops, which count in the frame."""

from .softmax16_xtensa import softmax

__all__ = ["softmax"]
