"""FAVOR+ attention over one head; the device module of the same name is its twin.

Choromanski et al., "Rethinking Attention with Performers", 2021.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ModelError
from ..numerics.floating import kernelized
from ..numerics.integers import bit_length, exp2, int32
from ..numerics.scales import logarithm_constants, output_constants, quantize
from ..schema import COUNT, INTEGER, SIZE, Tensor, between, within
from .base import OUTPUT, Core, Variant
from .linear import MAX_STATE, attend

LOWEST = -(1 << 24)  # below every octave that a key can have
FULL = 511 << 15  # a sum that can take one weight more: 512 * 32768 * 128 is within int32
MAX_FEATURES = 256


@dataclass
class Performer:
    """Linear attention with phi(x) = exp(features @ x - |x|**2 / 2), in base 2.

    features: int8 [M, D], M <= 256. The multipliers turn features @ x (of queries and of keys) and
    |k|**2 into 1/256 octaves; a query's own norm cancels.

    A feature of the keys is summed relative to an octave that rises with the largest logarithm so
    far, or where a sum is full, and then halves the sums, key by key: the causal result of a row is
    the result of the sequence up to it. After a call `outputs` holds kv int32 [D, M], rounded as
    the output used it, z int32 [M] and the denominators `sums` int32 [S].
    """

    max_seq_len: ClassVar[int] = 1 << 15

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
    output: str = "int8"  # or "int32", which is not clamped

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes or with each other."""
        between("head_dim", head_dim, 1, MAX_STATE)
        between("num_features", len(self.features), 1, MAX_FEATURES)
        for what in ("query", "key", "norm"):
            mult, shift = getattr(self, f"{what}_mult"), getattr(self, f"{what}_shift")
            most = ((1 << 31) - 1 - (1 << shift - 1)) // (head_dim << 14)
            between(f"{what}_mult", mult, 0, most)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: [S], not 0 where a key is padding, which adds nothing.
        """
        hidden = np.zeros(len(q)) if key_padding_mask is None else key_padding_mask
        queries = self._logarithms(q, self.query_mult, self.query_shift)
        keys = self._logarithms(k, self.key_mult, self.key_shift)
        norms = int32((k.astype(np.int64) ** 2).sum(axis=1) * self.norm_mult)
        keys = keys - (int32(norms + ((1 << self.norm_shift) >> 1)) >> self.norm_shift)[:, None]

        octaves = np.full(len(self.features), LOWEST, np.int64)
        z = np.zeros(len(self.features), np.int64)
        kv = np.zeros((len(self.features), q.shape[1]), np.int64)
        rows = []
        for t, (key, value) in enumerate(zip(keys, v.astype(np.int64), strict=True)):
            if not hidden[t]:
                rise = np.maximum(((key + 255) >> 8) - octaves, 0)
                rise = rise + (z >> np.minimum(rise, 31) > FULL)
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
        if (octaves == LOWEST).all():  # no key so far: any will do, as all is 0
            octaves = np.zeros_like(octaves)
        p = np.maximum(bit_length(z) - 13, 0)
        kv = int32(kv + ((1 << (p + 7)) >> 1)[:, None]) >> (p + 7)[:, None]
        self.outputs = {"kv": kv.T.astype(np.int32)}
        t = int32(queries + 256 * (octaves + p))
        phi = power(((t.max(axis=1, keepdims=True) + 255) >> 8 << 8) - t)
        return attend((phi + 4) >> 3, kv, z >> p, 7, self.out_num, self.out_shift, 0,
                      self.output, 0 if len(z) <= 64 else 1 if len(z) <= 128 else 2)


def power(t: np.ndarray) -> np.ndarray:
    """2**(15 - t / 256), rounded; Q15. Beyond 31 octaves it is 0."""
    return exp2(np.minimum(t, (30 << 8) + (t & 255)))


def performer_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    features: np.ndarray,
) -> dict[str, int | np.ndarray]:
    """The constants of the performer core, and its features as int8.

    Args:
        features: float [num_heads, num_features, head_dim], see random_features.
    """
    scale = float(np.abs(features).max()) / 127
    octaves = scale * math.log2(math.e) / head_dim**0.25
    num, out_shift = output_constants(scale_v / scale_out)
    constants: dict[str, int | np.ndarray] = {"out_num": num, "out_shift": out_shift}
    for name, each in (
        ("query", scale_q * octaves),
        ("key", scale_k * octaves),
        ("norm", scale_k**2 * math.log2(math.e) / math.sqrt(head_dim) / 2),
    ):
        constants[f"{name}_mult"], constants[f"{name}_shift"] = logarithm_constants(each, head_dim)
    constants["features"] = quantize(features, scale)
    return constants


def random_features(
    num_heads: int, num_features: int, head_dim: int, seed: int, orthogonal: bool = True
) -> np.ndarray:
    """The random projections of FAVOR+, float [num_heads, num_features, head_dim].

    Normal vectors; orthogonal: the rows of random orthogonal matrices, with the norms that normal
    vectors have (Choromanski et al., 2021, section 2.4).

    Raises:
        ValueError: num_features is not a whole number from 1.
    """
    if not (isinstance(num_features, int) and num_features > 0):
        raise ValueError(f"num_features: expected a whole number from 1, got {num_features}")
    if num_features > MAX_FEATURES:
        raise ValueError(f"num_features: expected at most {MAX_FEATURES}, got {num_features}")
    rng = np.random.default_rng(seed)
    if not orthogonal:
        return rng.normal(size=(num_heads, num_features, head_dim))
    blocks = -(-num_features // head_dim)
    q, _ = np.linalg.qr(rng.normal(size=(num_heads, blocks, head_dim, head_dim)))
    norms = np.sqrt(rng.chisquare(head_dim, size=(num_heads, blocks, head_dim, 1)))
    return (q * norms).reshape(num_heads, -1, head_dim)[:, :num_features]


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    features: np.ndarray,
    hidden: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """FAVOR+ attention with features [num_heads, M, D].

    hidden: bool [S], which keys add nothing.
    """
    q, k = q * q.shape[-1] ** -0.25, k * k.shape[-1] ** -0.25
    logs_q = q @ np.swapaxes(features, -1, -2)
    logs_k = k @ np.swapaxes(features, -1, -2) - (k**2).sum(axis=-1, keepdims=True) / 2
    if hidden is not None:
        logs_k = np.where(hidden[:, None], -np.inf, logs_k)
    # What is taken off a feature of the keys is given to that of the queries: exp cannot overflow
    top = np.maximum(logs_k.max(axis=-2, keepdims=True), np.finfo(np.float64).min)
    logs_q = logs_q + top
    phi_q = np.exp(logs_q - logs_q.max(axis=-1, keepdims=True))
    return kernelized(phi_q, np.exp(logs_k - top), v, causal)


def int8_features(
    rng: np.random.Generator, num_heads: int, head_dim: int, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Random features as the board has them: the float form gets the same operands.

    Their number is taken out of the options.
    """
    drawn = {"num_features": options.pop("num_features", 32), "seed": int(rng.integers(1 << 30))}
    features = drawn_features(num_heads, head_dim, drawn)["features"]
    step = float(np.abs(features).max()) / 127
    return {"features": quantize(features, step) * step}


def drawn_features(
    num_heads: int, head_dim: int, options: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """`num_features` random ones of the `seed`; 32 of seed 1 by default."""
    try:
        return {"features": random_features(num_heads, options.get("num_features", 32), head_dim,
                                            options.get("seed", 1))}
    except ValueError as error:
        raise ModelError(f"performer: {error}") from None


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """The features of q and k, K'^T V and Q' KV."""
    return 4 * seq_len * head_dim * len(tensors["features"])


CORE = Core(
    reference=Performer,
    make_constants=performer_constants,
    floating=floating,
    steps=True,
    masks_keys=True,
    constants={**dict.fromkeys(("query_mult", "key_mult", "norm_mult"), INTEGER),
               **dict.fromkeys(("query_shift", "key_shift", "norm_shift"), within(8, 28)),
               **OUTPUT},
    options={"block_rows": SIZE, "num_features": SIZE, "seed": COUNT},
    drawn=("num_features", "seed"),
    defaults=drawn_features,
    tensors=lambda heads, dim: {"features": Tensor(np.int8, (heads, None, dim))},
    float_tensors=lambda heads, dim: {"features": Tensor(float, (heads, None, dim))},
    most_lsb=1.2,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "causal, padded": Variant(causal=True, padded=True),
    },
    parameters=int8_features,
    work=_work,
)
