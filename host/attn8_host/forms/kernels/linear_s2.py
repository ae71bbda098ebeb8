"""Linear attention on an LX7 without MAC16 and loops, which count in the frame."""

from .linear_xtensa import accumulate, attend, features, fill, shrink

__all__ = ["accumulate", "attend", "features", "fill", "shrink"]
