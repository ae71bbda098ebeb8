"""Attention cores: int8 q, k, v of one head, [seq_len, head_dim], into out of the same shape."""

from .exact import Exact

CORES = {"exact": Exact}
