"""Training's words of fixed point on an LX7 without MAC16 and loops, which count in the frame."""

from .fixed_words_xtensa import add, column_sums, peak, relu, scale, spread

__all__ = ["add", "column_sums", "peak", "relu", "scale", "spread"]
