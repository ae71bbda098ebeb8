"""Linear attention over one head; the device module of the same name is its twin.

Katharopoulos et al., "Transformers are RNNs", 2020, with integer feature maps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..numerics.floating import elu_plus_one, kernelized
from ..numerics.integers import bit_length, int32, requant
from ..numerics.scales import output_constants
from ..schema import FLAG, INTEGER, INTEGERS, SHIFTS, SIZE, between, one_of
from .base import OUTPUT, Core, Variant

MOST = 2**31 - 1
MAX_STATE = 1024  # head_dim: a state has as many rows and columns
MAX_FEATURE = 4095  # of the tables of ELU+1: 12 bits


def attend(
    phi: np.ndarray, kv: np.ndarray, z: np.ndarray, p: int, num: int, shift: int, denominator: int,
    output: str = "int8", down: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """phi @ kv * 2**p / sums * num / 2**shift, with one division a row.

    Args:
        phi: features of the queries, [rows, features].
        kv: [features, head_dim], at 2**p times the scale of z.
        z: sums of the keys' features, [features].
        p: see kv; it may be negative.
        num, shift: the ratio of the scales of v and of the output.
        denominator: stands for phi @ z where it is not 0.
        output: of the results, "int8" or "int32", which is not clamped.
        down: where it is not 0, sums of 64 features each go down by so many bits before they are
            added up: their sum is then within int32.

    Returns:
        [rows, head_dim], and the rows' denominators.
    """
    size = 64 if down else len(kv)
    blocks = [slice(i, i + size) for i in range(0, len(kv), size)]
    product = int32(np.sum([int32(phi[:, i] @ kv[i]) >> down for i in blocks], axis=0))
    sums = np.full(len(phi), denominator, np.int64)
    if denominator == 0:
        sums = int32(np.sum([int32(phi[:, i] @ z[i]) >> down for i in blocks], axis=0))
    n = bit_length(sums) - 16  # what brings the denominator to 16 bits
    divisor = np.maximum((sums >> np.maximum(n, 0)) << np.maximum(-n, 0), 1)
    mult = np.where(sums > 0, int32(num + (divisor >> 1)) // divisor, 0)
    n = np.where(sums > 0, n - p, 0)[:, None]
    scaled = int32(product << np.maximum(-n, 0)) >> np.maximum(n, 0)
    return requant(scaled, mult[:, None], shift, output), sums


@dataclass
class Linear:
    """out = phi(q) @ (phi(k).T @ v) / (phi(q) @ sum(phi(k))) in integers.

    phi is "relu", "relu+1" (in steps of int8) or "elu+1", whose [256] tables of 12 bits, one for q
    and one for k, are indexed by the value's byte; of more than 2056 tokens those for k get as many
    bits less as sums need. Without `normalize` out = phi(q) @ (phi(k).T @
    v) and the output's ratio has 16 more bits, or 24 with "elu+1".

    After a call `outputs` holds kv int32 [D, D] (transposed and rounded as the output used it), z
    int32 [D] (not rounded) and the denominators `sums` int32 [S]; causal, kv and z are those of the
    last row.
    """

    max_seq_len: ClassVar[int] = 1 << 15

    out_num: int
    out_shift: int
    phi: str = "relu+1"
    table_q: Sequence[int] | None = None
    table_k: Sequence[int] | None = None
    normalize: bool = True
    causal: bool = False
    output: str = "int8"  # or "int32", which is not clamped

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes or with each other."""
        between("head_dim", head_dim, 1, MAX_STATE)
        if self.phi == "elu+1":
            for what, table in (("table_q", self.table_q), ("table_k", self.table_k)):
                if table is None or len(table) != 256:
                    raise ValueError(f"{what}: expected 256 values, got {len(table or ())}")
                for value in table:
                    between(what, value, 0, MAX_FEATURE)
        shift = self.out_shift
        if not self.normalize:
            shift -= self.static_shift(seq_len, head_dim) + self._keys_table(seq_len)[1]
        between("out_shift", shift, *SHIFTS)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: [S], not 0 where a key is padding, which adds nothing.
        """
        table_q, (table_k, coarser) = self._table(self.table_q), self._keys_table(len(q))
        phi_q, phi_k = table_q[q.view(np.uint8)], table_k[k.view(np.uint8)]
        if key_padding_mask is not None:
            phi_k = np.where(key_padding_mask[:, None] != 0, 0, phi_k)
        v = v.astype(np.int64)
        limit = self._limit(q.shape[1])
        static = self.static_shift(*q.shape)

        def rows(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
            kv, z = int32(phi_k[:last].T @ v[:last]), int32(phi_k[:last].sum(axis=0))
            kv, p = shrink(kv, limit)
            self.outputs = {"kv": kv.T.astype(np.int32), "z": z.astype(np.int32)}
            z, p_z = shrink(z, limit) if self.normalize else (z, static)
            shift = self.out_shift if self.normalize else self.out_shift - static - coarser
            return attend(phi_q[first:last], kv, z, p - p_z, self.out_num, shift,
                          self.denominator, self.output)

        parts = [rows(t, t + 1) for t in range(len(q))] if self.causal else [rows(0, len(q))]
        out, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.outputs["sums"] = sums.astype(np.int32)
        return out

    @property
    def denominator(self) -> int:
        """What takes the place of the rows' sums; 0: nothing."""
        if self.normalize:
            return 0
        return 1 << (24 if self.phi == "elu+1" else 16)

    def static_shift(self, seq_len: int, head_dim: int) -> int:
        """Without `normalize`: the bits that the largest possible kv has beyond its limit."""
        if self.normalize:
            return 0
        largest = 128 * max(1, int(self._keys_table(seq_len)[0].max())) * seq_len
        return smallest_shift(largest, self._limit(head_dim))

    def _keys_table(self, seq_len: int) -> tuple[np.ndarray, int]:
        """The features of keys as so many tokens have them, and the bits that they lost."""
        table, coarser = self._table(self.table_k), 0
        while 255 * seq_len * ((int(table.max()) + (1 << coarser >> 1)) >> coarser) > MOST:
            coarser += 1
        return (table + (1 << coarser >> 1)) >> coarser, coarser

    def _limit(self, head_dim: int) -> int:
        """The largest kv and z whose products with a query's features sum up within int32."""
        return MOST // (max(1, int(self._table(self.table_q).max())) * head_dim)

    def _table(self, table: Sequence[int] | None) -> np.ndarray:
        if self.phi == "elu+1":
            return np.asarray(table, np.int64)
        signed = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
        return np.maximum(signed, 0) + (self.phi == "relu+1")


def shrink(x: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
    """round(x / 2**p) with the smallest p that keeps its magnitudes within limit, and p."""
    p = smallest_shift(int(np.abs(x).max()), limit, rounding=True)
    return (x + ((1 << p) >> 1)) >> p, p


def smallest_shift(largest: int, limit: int, rounding: bool = False) -> int:
    """The smallest p with largest >> p, rounded or not, within limit."""
    p = 0
    while (largest + (((1 << p) >> 1) if rounding else 0)) >> p > limit:
        p += 1
    return p


def linear_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    phi: str = "relu+1",
    normalize: bool = True,
) -> dict[str, int | list[int]]:
    """The constants of the linear core; with phi = "elu+1" its tables as well."""
    ratio = scale_v / scale_out
    if not normalize:
        ratio *= 2**24 if phi == "elu+1" else 2**16 * scale_q * scale_k
    constants: dict[str, int | list[int]] = {}
    for name, scale in (("table_q", scale_q), ("table_k", scale_k)):
        if phi == "elu+1":
            table = elu_plus_one(np.arange(256, dtype=np.uint8).view(np.int8) * scale)
            unit = float(table.max()) / MAX_FEATURE
            constants[name] = [max(1, math.floor(y / unit + 0.5)) for y in table]
            if not normalize:
                ratio *= unit
    constants["out_num"], constants["out_shift"] = output_constants(ratio)
    return constants


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    steps: Sequence[float],
    phi: str = "relu+1",
    normalize: bool = True,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """phi(q) @ (phi(k).T @ v), over phi(q) @ sum(phi(k)) where normalized.

    phi: "relu"; "relu+1", one step of int8; or "elu+1". hidden: bool [S], which keys add nothing.
    A row without any weight gives zeros.
    """

    def features(x: np.ndarray, step: float) -> np.ndarray:
        if phi == "elu+1":
            return elu_plus_one(x)
        result: np.ndarray = np.maximum(x, 0) + (step if phi == "relu+1" else 0)
        return result

    phi_k = features(k, steps[1])
    if hidden is not None:
        phi_k = np.where(hidden[:, None], 0, phi_k)
    return kernelized(features(q, steps[0]), phi_k, v, causal, normalize)


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """K'^T V and Q' KV."""
    return 2 * seq_len * head_dim**2


CORE = Core(
    reference=Linear,
    make_constants=linear_constants,
    floating=floating,
    steps=True,
    masks_keys=True,
    constants={**OUTPUT, "out_shift": INTEGER, "table_q": INTEGERS, "table_k": INTEGERS},
    options={"phi": one_of("relu", "relu+1", "elu+1"), "normalize": FLAG, "block_rows": SIZE},
    most_lsb=1.2,
    variants={
        "relu+1": Variant(options={"phi": "relu+1"}),
        "relu": Variant(options={"phi": "relu"}),
        "elu+1": Variant(options={"phi": "elu+1"}),
        "causal": Variant(causal=True),
        "unnormalized": Variant(options={"phi": "relu", "normalize": False}),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "causal, padded": Variant(causal=True, padded=True),
    },
    work=_work,
)
