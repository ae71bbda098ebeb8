"""Masks that follow from positions alone; formulas of Longformer (Beltagy et al., 2020)."""

from collections.abc import Iterable

import numpy as np

from ..schema import between
from .mask import Mask, boundaries


def full(seq_len: int) -> Mask:
    """Each query sees every key."""
    return Mask(seq_len, [(0, seq_len)] * seq_len)


def causal(seq_len: int) -> Mask:
    """Each query sees itself and the keys before it."""
    return Mask(seq_len, [(0, i + 1) for i in range(seq_len)])


def local_window(seq_len: int, window: int) -> Mask:
    """Each query i sees the keys j with |i - j| <= window."""
    between("window", window, 0, 1 << 15)
    i = np.arange(max(seq_len, 0))
    starts, ends = np.maximum(i - window, 0), np.minimum(i + window + 1, seq_len)
    return Mask(seq_len, np.stack([starts, ends], axis=1).tolist())


def global_indices(seq_len: int, indices: Iterable[int]) -> Mask:
    """Each query sees the keys `indices`, rising."""
    return Mask(seq_len, [boundaries(indices)] * seq_len)


def local_global(seq_len: int, window: int, indices: Iterable[int]) -> Mask:
    """A local window and the global indices."""
    return local_window(seq_len, window).union(global_indices(seq_len, indices))


def block_diagonal(seq_len: int, block_size: int) -> Mask:
    """Each query sees the keys of its own block."""
    between("block_size", block_size, 1, 1 << 15)
    starts = [i - i % block_size for i in range(seq_len)]
    return Mask(seq_len, [(start, min(seq_len, start + block_size)) for start in starts])


def strided(seq_len: int, window: int, stride: int) -> Mask:
    """A local window and every stride-th key."""
    between("stride", stride, 1, 1 << 15)
    return local_global(seq_len, window, range(0, seq_len, stride))
