"""Attention to the last tokens, token by token; the device module of the same name is its twin."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cache import KeyValueCache, Streaming
from .exact import Exact


@dataclass
class Sliding(Streaming):
    """Each token attends to the last `window` tokens, itself among them (Beltagy et al., 2020).

    Raises:
        ValueError: causal is false.
    """

    max_seq_len: ClassVar[int] = 1 << 15

    window: int
    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    causal: bool = True

    def __post_init__(self) -> None:
        if not self.causal:
            raise ValueError("causal: expected True, got False")
        constants = self.score_mult, self.score_shift, self.score_limit, self.out_num
        self.cache = KeyValueCache(self.window, Exact(*constants, self.out_shift))
        self.reset()

    def reset(self) -> None:
        self.count = 0

    def step(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        self.cache.put(self.count % self.window, k, v)
        self.count += 1
        return self.cache.attend(q, min(self.count, self.window))
