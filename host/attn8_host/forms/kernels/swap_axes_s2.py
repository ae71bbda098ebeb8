"""Moving data on an LX7 without MAC16 and loops, which count in the frame."""

from .swap_axes_xtensa import swap_axes

__all__ = ["swap_axes"]
