"""Training's words of fixed point on an LX7 without MAC16 and loops, which count in the frame."""

from .fixed_words_xtensa import (
    SPARE,
    add,
    column_sums,
    peak,
    relu,
    scale,
    sgd,
    spread,
    squares,
)

__all__ = ["SPARE", "add", "column_sums", "peak", "relu", "scale", "sgd", "spread", "squares"]
