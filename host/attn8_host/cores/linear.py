"""Linear attention over one head; the device module of the same name is its twin.

Katharopoulos et al., "Transformers are RNNs", 2020, with integer feature maps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ModelError
from ..numerics.floating import elu_plus_one, kernelized
from ..numerics.integers import bit_length, int32, requant
from ..numerics.scales import output_constants
from ..schema import FLAG, INTEGER, INTEGERS, SHIFTS, SIZE, between, one_of
from .base import OUTPUT, Core, Parameters, TrainableCore, Variant

MOST = 2**31 - 1
MAX_STATE = 1024  # head_dim: a state has as many rows and columns
CHUNK = 16  # tokens of a causal core that train at a time, at most
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


class TrainableLinear(TrainableCore):
    """context = phi(q) @ S / (phi(q) @ z), S = phi(k).T @ v and z = sum(phi(k)), both over the
    number of keys; without `normalize` phi(q) @ S of the plain sum. With `causal` row t takes the
    sums of t + 1 tokens.

    Backwards, with c the gradient of the context, P = phi(q) / (phi(q) @ z) and
    t = -rowsum(c * context): of phi(q) it is (c @ S.T + t z) / (phi(q) @ z); with T = P.T @ c and
    u = P.T @ t that of phi(k) is (v @ T.T + u) / keys, of v phi(k) @ T / keys. Where it is causal,
    T and u are those of the tokens from a row on. Both run along by chunks of CHUNK tokens, and
    tokens of one chunk see each other by pairs: their phi(q) @ phi(k).T, below the diagonal.

    Args:
        phi: "relu"; "relu+1", with a step of the int8 q or k, `steps` / 2**24, in place of 1; or
            "elu+1".
    """

    def __init__(
        self, f: Any, name: str, num_heads: int, key_dim: int, causal: bool = False,
        recompute: bool = False, phi: str = "relu+1", normalize: bool = True,
        steps: Sequence[int] = (), **options: Any,
    ):
        super().__init__(f, name, num_heads, key_dim, causal, recompute)
        if len(steps) != (2 if phi == "relu+1" else 0):
            raise ModelError(f"{name}.constants.steps: expected those of q and k with relu+1, got "
                             f"{list(steps)}")
        self._phi, self._normalize = phi, normalize
        self._steps = [f.array(np.array(step / 2**24)) for step in steps]

    def _features(self, x: np.ndarray, part: int) -> np.ndarray:
        if self._phi == "elu+1":
            found: np.ndarray = self.f.elu_plus_one(x)
            return found
        found = np.where(x > 0, x, 0)
        return self.f.add(found, self._steps[part]) if self._steps else found

    def _slope(self, grad: np.ndarray, x: np.ndarray, phi: np.ndarray) -> np.ndarray:
        if self._phi == "elu+1":
            found: np.ndarray = self.f.multiply(grad, self.f.within(phi, 1))
            return found
        return np.where(x > 0, grad, 0)

    def _hide(self, x: np.ndarray) -> np.ndarray:
        hidden = np.arange(len(x)) >= (len(x) if self.length is None else self.length)
        return np.where(hidden[:, None], 0, x)

    def _divide(self, x: np.ndarray) -> np.ndarray:
        """Each head's rows by their denominators."""
        found: np.ndarray = self.f.stretch(x.reshape(-1, self.key_dim), self._factors)
        return found.reshape(x.shape)

    def _blocks(self, tokens: int) -> list[slice]:
        """Of as many tokens each, but for the last."""
        n = -(-tokens // -(-tokens // CHUNK)) if self.causal else tokens
        return [slice(i, min(i + n, tokens)) for i in range(0, tokens, n)]

    def _means(self, phi: np.ndarray, v: np.ndarray, sums: Any) -> tuple[Any, Any]:
        """S and z with some more tokens of a head, as sums and as the queries use them."""
        f, (kv, z) = self.f, sums
        kv = f.product(phi.T, v.T, kv)
        if not self._normalize:
            return (kv, z), (kv, z)
        z = f.product(phi.T, f.array(np.ones((1, len(phi)))), z)
        return (kv, z), (f.scale(kv, self._share), f.scale(z, self._share))

    def _before(self, pairs: np.ndarray, share: bool = False) -> np.ndarray:
        """Of the pairs of a chunk, those of a token with itself and others before it."""
        pairs = np.tril(pairs)
        if not share:
            return pairs
        found: np.ndarray = self.f.scale(pairs, self._share)
        return found

    def _gradients(self, c: np.ndarray, v: np.ndarray, totals: Any) -> np.ndarray:
        """Those of the pairs of a chunk."""
        onto = None
        if self._normalize:
            onto = self.f.product(totals, self.f.array(np.ones((len(c), 1))))
        found: np.ndarray = self.f.product(c, v, onto)
        return found

    def _zeros(self) -> tuple[np.ndarray, np.ndarray]:
        d, dtype = self.key_dim, self._operands[0].dtype
        return np.zeros((d, d), dtype), np.zeros((d, 1), dtype)

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        f, tokens = self.f, len(q)
        self._share = f.factor(1, tokens)
        self._operands = q, k, v
        self._phi_q, self._phi_k = self._features(q, 0), self._hide(self._features(k, 1))
        context, denominators = np.zeros_like(v), np.zeros((tokens, self.num_heads), q.dtype)
        for h, (phi_q, phi_k, x, out) in enumerate(
            zip(*map(self.heads, (self._phi_q, self._phi_k, v, context)), strict=True)
        ):
            sums = kv, z = self._zeros()
            for rows in self._blocks(tokens):
                if not self.causal:
                    sums, (kv, z) = self._means(phi_k[rows], x[rows], sums)
                found, below = f.product(phi_q[rows], kv.T), None
                if self._normalize:
                    below = f.product(phi_q[rows], z.T)
                if self.causal:
                    pairs = self._before(f.product(phi_q[rows], phi_k[rows]), self._normalize)
                    found = f.product(pairs, x[rows].T, found)
                    if self._normalize:
                        below = f.product(pairs, f.array(np.ones((1, len(pairs)))), below)
                    sums, (kv, z) = self._means(phi_k[rows], x[rows], sums)
                out[rows] = found
                if below is not None:
                    denominators[rows, h] = below[:, 0]
        if self._normalize:
            self._factors = f.reciprocals(denominators.ravel())
            context = self._divide(context)
        self._context = context
        return context

    def backward(self, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        f, (q, k, v) = self.f, self._operands
        tokens, one = len(q), f.array(np.ones((1, 1)))
        totals = []
        if self._normalize:
            products = self.heads(f.multiply(dcontext, self._context))
            totals = [f.product(x, f.array(-np.ones((1, self.key_dim)))) for x in products]
        dq, dk, dv = (np.zeros_like(v) for _ in range(3))
        for h, (phi_k, x, c, out) in enumerate(
            zip(*map(self.heads, (self._phi_k, v, dcontext, dq)), strict=True)
        ):
            sums = kv, z = self._zeros()
            for rows in self._blocks(tokens):
                if not self.causal:
                    sums, (kv, z) = self._means(phi_k[rows], x[rows], sums)
                total = totals[h][rows] if self._normalize else None
                onto = None if total is None else f.product(total, z)
                found = f.product(c[rows], kv, onto)
                if self.causal:
                    pairs = self._before(self._gradients(c[rows], x[rows], total), self._normalize)
                    found = f.product(pairs, phi_k[rows].T, found)
                    sums, (kv, z) = self._means(phi_k[rows], x[rows], sums)
                out[rows] = found
        shares = self._phi_q
        if self._normalize:
            dq, shares = self._divide(dq), self._divide(self._phi_q)
        dq = self._slope(dq, q, self._phi_q)
        for h, (psi, phi_k, x, c, of_k, of_v) in enumerate(
            zip(*map(self.heads, (shares, self._phi_k, v, dcontext, dk, dv)), strict=True)
        ):
            kv, z = self._zeros()
            for rows in reversed(self._blocks(tokens)):
                total = totals[h][rows] if self._normalize else None

                def added(
                    kv: np.ndarray, z: np.ndarray, rows: slice = rows, total: Any = total,
                    psi: np.ndarray = psi, c: np.ndarray = c,
                ) -> tuple[np.ndarray, np.ndarray]:
                    kv = f.product(psi[rows].T, c[rows].T, kv)
                    return kv, z if total is None else f.product(psi[rows].T, total.T, z)

                if not self.causal:
                    kv, z = added(kv, z)
                onto = None
                if self._normalize:
                    onto = f.product(np.repeat(one, len(psi[rows]), axis=0), z)
                found = f.product(x[rows], kv, onto)
                of_v[rows] = f.product(phi_k[rows], kv.T)
                if self.causal:
                    pairs = self._before(self._gradients(c[rows], x[rows], total))
                    found = f.product(pairs.T, psi[rows].T, found)
                    pairs = self._before(f.product(psi[rows], phi_k[rows]))
                    of_v[rows] = f.product(pairs.T, c[rows].T, of_v[rows])
                    kv, z = added(kv, z)
                of_k[rows] = found
        if self._normalize:
            dk, dv = f.scale(dk, self._share), f.scale(dv, self._share)
        return dq, self._hide(self._slope(dk, k, self._phi_k)), dv


def _retrained(
    options: Mapping[str, Any], scales: Mapping[str, float], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Parameters]:
    if options.get("phi", "relu+1") != "relu+1":
        return {}, {}
    return {"steps": [round(scales[part] * 2**24) for part in ("q", "k")]}, {}


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """K'^T V and Q' KV."""
    return 2 * seq_len * head_dim**2


CORE = Core(
    reference=Linear,
    trainable=TrainableLinear,
    training_constants={"steps": INTEGERS},
    retrained=_retrained,
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
