"""FAVOR+ attention over one head; the device module of the same name is its twin.

Choromanski et al., "Rethinking Attention with Performers", 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.integers import bit_length, exp2, int32
from .linear import attend

MAX_KEYS = 512  # 512 * 32768 * 128, rounded, is the largest sum of weighted values within int32


@dataclass
class Performer:
    """Linear attention with phi(x) = exp(features @ x - |x|**2 / 2), in base 2.

    features: int8 [M, D], M <= 64. The multipliers turn features @ x (of queries and of keys) and
    |k|**2 into 1/256 octaves; a query's own norm cancels.

    A feature of the keys is summed relative to an octave that rises with the largest logarithm so
    far and then halves the sums, key by key: the causal result of a row is the result of the
    sequence up to it. After a call `outputs` holds kv int32 [D, M], rounded as the output used it,
    z int32 [M] and the denominators `sums` int32 [S].
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    features: np.ndarray
    query_mult: int
    query_shift: int
    key_mult: int
    key_shift: int
    norm_mult: int
    norm_shift: int
    out_num: int
    out_shift: int
    causal: bool = False

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D]."""
        queries = self._logarithms(q, self.query_mult, self.query_shift)
        keys = self._logarithms(k, self.key_mult, self.key_shift)
        norms = int32((k.astype(np.int64) ** 2).sum(axis=1) * self.norm_mult)
        keys = keys - (int32(norms + ((1 << self.norm_shift) >> 1)) >> self.norm_shift)[:, None]

        octaves = np.full(len(self.features), -(1 << 24), np.int64)
        z = np.zeros(len(self.features), np.int64)
        kv = np.zeros((len(self.features), q.shape[1]), np.int64)
        rows = []
        for t, (key, value) in enumerate(zip(keys, v.astype(np.int64), strict=True)):
            rise = np.maximum(((key + 255) >> 8) - octaves, 0)
            octaves = octaves + rise
            z, kv = z >> np.minimum(rise, 31), kv >> np.minimum(rise, 31)[:, None]
            weights = power(256 * octaves - key)
            z, kv = int32(z + weights), int32(kv + weights[:, None] * value)
            if self.causal:
                rows.append(self._attend(queries[t : t + 1], octaves, z, kv))
        if not self.causal:
            rows.append(self._attend(queries, octaves, z, kv))
        out, sums = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        self.outputs |= {"z": z.astype(np.int32), "sums": sums.astype(np.int32)}
        return out

    def _logarithms(self, x: np.ndarray, mult: int, shift: int) -> np.ndarray:
        product = int32(x.astype(np.int64) @ self.features.astype(np.int64).T)
        return int32(int32(product * mult) + ((1 << shift) >> 1)) >> shift

    def _attend(
        self, queries: np.ndarray, octaves: np.ndarray, z: np.ndarray, kv: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        p = np.maximum(bit_length(z) - 13, 0)
        kv = int32(kv + ((1 << (p + 7)) >> 1)[:, None]) >> (p + 7)[:, None]
        self.outputs = {"kv": kv.T.astype(np.int32)}
        t = int32(queries + 256 * (octaves + p))
        phi = power(((t.max(axis=1, keepdims=True) + 255) >> 8 << 8) - t)
        return attend((phi + 4) >> 3, kv, z >> p, 7, self.out_num, self.out_shift, 0)


def power(t: np.ndarray) -> np.ndarray:
    """2**(15 - t / 256), rounded; Q15. Beyond 31 octaves it is 0."""
    return exp2(np.minimum(t, (30 << 8) + (t & 255)))
