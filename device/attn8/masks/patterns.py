# Masks that follow from positions alone
from .. import checks
from .mask import Mask, boundaries, length, overlap


def full(seq_len):
    # Each query sees every key
    return Mask(seq_len, ((0, seq_len) for _ in range(length(seq_len))))


def causal(seq_len):
    # Each query sees itself and the keys before it
    return Mask(seq_len, ((0, i + 1) for i in range(length(seq_len))))


def local_window(seq_len, window):
    # Each query sees `window` keys on either side of itself
    return Mask(seq_len, _windows(seq_len, window))


def global_indices(seq_len, indices):
    # Each query sees the keys `indices`, rising
    row = boundaries(indices)
    return Mask(seq_len, (row for _ in range(length(seq_len))))


def local_global(seq_len, window, indices):
    # A local window and the global indices
    row = boundaries(indices)
    return Mask(seq_len, (overlap((local, row), 1) for local in _windows(seq_len, window)))


def block_diagonal(seq_len, block_size):
    # Each query sees the keys of its own block
    checks.between("block_size", block_size, 1, 1 << 15)
    starts = (i - i % block_size for i in range(length(seq_len)))
    return Mask(seq_len, ((start, min(seq_len, start + block_size)) for start in starts))


def strided(seq_len, window, stride):
    # A local window and every stride-th key
    checks.between("stride", stride, 1, 1 << 15)
    return local_global(seq_len, window, range(0, length(seq_len), stride))


def _windows(seq_len, window):
    checks.between("window", window, 0, 1 << 15)
    return ((max(0, i - window), min(seq_len, i + window + 1)) for i in range(length(seq_len)))
