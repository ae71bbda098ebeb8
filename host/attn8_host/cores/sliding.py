"""Attention to the last tokens, token by token; the device module of the same name is its twin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..schema import within
from . import exact
from .base import SOFTMAX, Core, Variant
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

    def put(self, k: np.ndarray, v: np.ndarray) -> None:
        self.cache.put(self.count % self.window, k, v)
        self.count += 1

    def attend(self, q: np.ndarray) -> np.ndarray:
        return self.cache.attend(q, min(self.count, self.window))


def sliding_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float, window: int
) -> dict[str, int]:
    """Those of the exact core; window: an option of the core, on which none depends."""
    return exact.exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)


def floating(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, window: int,
    hidden: np.ndarray | None = None, **options: object,
) -> np.ndarray:
    """Softmax attention to the last `window` tokens that are not hidden, bool [S]."""
    if hidden is None:
        hidden = np.zeros(q.shape[-2], bool)
    tokens = np.cumsum(~hidden)  # that have come
    return exact.floating(q, k, v, causal, hidden | (tokens <= tokens[:, None] - window))


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """Two products for each pair of query and key in a window."""
    result: int = 2 * head_dim * sum(min(t + 1, options["window"]) for t in range(seq_len))
    return result


CORE = Core(
    reference=Sliding,
    make_constants=sliding_constants,
    floating=floating,
    constants=SOFTMAX,
    options={"window": within(1, exact.MAX_KEYS)},
    most_lsb=0.65,
    variants={
        "window 16": Variant(causal=True, options={"window": 16}),
        "window 3": Variant(causal=True, options={"window": 3}),
        "padded": Variant(causal=True, padded=True, options={"window": 3}),
        "lengths": Variant(causal=True, lengths=True, options={"window": 3}),
    },
    planned=lambda seq_len: {"window": 16},
    always_causal=True,
    masks_keys=True,
    steps=True,
    work=_work,
)
