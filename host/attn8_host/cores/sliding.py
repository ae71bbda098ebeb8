"""Attention to the last tokens, token by token; the device module of the same name is its twin."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .cache import Streaming


@dataclass
class Sliding(Streaming):
    """Each token attends to the last `window` tokens, itself among them (Beltagy et al., 2020)."""

    max_seq_len: ClassVar[int] = 1 << 15

    window: int

    @property
    def slots(self) -> int:
        return self.window

    def reset(self) -> None:
        self.count = 0

    def step(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        self.cache.put(self.count % self.window, k, v)
        self.count += 1
        return self.cache.attend(q, min(self.count, self.window))
