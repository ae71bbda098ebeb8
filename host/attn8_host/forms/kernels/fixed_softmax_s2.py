"""Softmax of training's fixed point on an LX7 without loops, which count in the frame."""

from .fixed_softmax_xtensa import softmax, softmax_backward

__all__ = ["softmax", "softmax_backward"]
