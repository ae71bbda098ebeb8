"""Sparse attention masks: which keys each query may attend to."""

from .mask import Mask
from .patterns import (
    block_diagonal,
    causal,
    full,
    global_indices,
    local_global,
    local_window,
    strided,
)
from .random import random

__all__ = [
    "Mask",
    "block_diagonal",
    "causal",
    "full",
    "global_indices",
    "local_global",
    "local_window",
    "random",
    "strided",
]
