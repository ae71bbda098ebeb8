"""Causal attention with a cache, token by token; the device module of the same name is its twin."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..schema import within
from .base import SOFTMAX, Core, Variant
from .cache import Streaming
from .exact import MAX_KEYS, exact_constants, floating


@dataclass
class Decode(Streaming):
    """Each token attends to all tokens since `reset`, itself among them, at most cache_len.

    Raises:
        ValueError: a token does not fit into the cache.
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    cache_len: int

    @property
    def slots(self) -> int:
        return self.cache_len

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        super().check(seq_len, keys, head_dim, value_dim)
        if seq_len > self.cache_len:
            raise ValueError(f"cache_len: expected seq_len {seq_len} or more, got {self.cache_len}")

    def reset(self) -> None:
        self.length = 0

    def rollback(self, tokens: int) -> None:
        """Forgets the last tokens."""
        if not 0 <= tokens <= self.length:
            raise ValueError(f"rollback: expected 0 to {self.length} tokens, got {tokens}")
        self.length -= tokens

    def put(self, k: np.ndarray, v: np.ndarray) -> None:
        if self.length == self.cache_len:
            raise ValueError(f"decode: the cache holds {self.length} tokens and is full")
        self.cache.put(self.length, k, v)
        self.length += 1

    def attend(self, q: np.ndarray) -> np.ndarray:
        return self.cache.attend(q, self.length)


def decode_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float, cache_len: int
) -> dict[str, int]:
    """Those of the exact core; cache_len: an option of the core, on which none depends."""
    return exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)


CORE = Core(
    reference=Decode,
    make_constants=decode_constants,
    floating=floating,
    constants=SOFTMAX,
    options={"cache_len": within(1, MAX_KEYS)},
    most_lsb=0.75,
    variants={
        "causal": Variant(causal=True),
        "padded": Variant(causal=True, padded=True),
        "lengths": Variant(causal=True, lengths=True),
    },
    sized=lambda seq_len: {"cache_len": seq_len + 1},
    planned=lambda seq_len: {"cache_len": seq_len},
    always_causal=True,
    masks_keys=True,
    steps=True,
)
