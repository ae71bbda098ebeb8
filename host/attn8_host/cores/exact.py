"""Two-pass softmax attention over one head; the device module of the same name is its twin."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..numerics import floating as floats
from ..numerics.integers import MASKED, bit_length, exp2, int32, requant
from ..numerics.scales import output_constants, score_constants
from ..schema import FLAG, MAX_INPUTS, between, within
from .base import SOFTMAX, Core, TrainableCore, Variant

MAX_KEYS = 516  # 516 * 32768 * 127 is the largest sum of weighted values below 2**31


@dataclass
class Exact:
    """out = softmax(q @ k.T * scale) @ v in integers; the constants hold the scales.

    After a call, `scores` int32 [S, K] (masked: -2**30), `weights` uint16 [S, K] (softmax
    numerators in Q15, unnormalized) and `sums` int32 [S] (their row sums) hold what it computed.
    With `precise` a second pass gives the numerators up to 8 more bits, as many as keep a row's sum
    below 2**24: `fine_weights` int32 [S, K] and `fine_sums` int32 [S].
    """

    max_seq_len: ClassVar[int] = MAX_KEYS

    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    causal: bool = False
    precise: bool = False
    output: str = "int8"  # or "int32", which is not clamped

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        names = ["scores", "weights", "sums"] + ["fine_weights", "fine_sums"] * self.precise
        return {name: getattr(self, name) for name in names}

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes or with each other."""
        between("seq_len", seq_len, 1, MAX_KEYS)
        if self.causal and keys != seq_len:
            raise ValueError(f"causal: expected key_len {seq_len} as seq_len, got {keys}")
        check_softmax(self, keys, head_dim)
        between("value_dim", value_dim, 1, MAX_INPUTS)

    def __call__(
        self,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 q [S, D], k and v [K, D] (K = S unless from another sequence); returns int8 [S, D].

        Args:
            key_padding_mask: [K], not 0 where a key is padding; or [S, K], where that query does
                not see it. A query with no key gives zeros.
        """
        masked, scores = masked_scores(q, k, self.causal, key_padding_mask)
        difference = scores.max(axis=1, keepdims=True, initial=MASKED) - scores
        kept = ~masked & (difference <= self.score_limit)
        t = int32(np.where(kept, difference, 0) * self.score_mult)
        t = int32(t + ((1 << self.score_shift) >> 1)) >> self.score_shift
        weights = np.where(kept, exp2(t), 0)
        sums = int32(weights.sum(axis=1))
        self.scores = scores.astype(np.int32)
        self.weights = weights.astype(np.uint16)
        self.sums = sums.astype(np.int32)
        if self.precise:
            extra = np.maximum(24 - bit_length(sums), 0)[:, None]
            weights = np.where(kept, exp2(t, extra), 0)
            sums = int32(weights.sum(axis=1))
            self.fine_weights = weights.astype(np.int32)
            self.fine_sums = sums.astype(np.int32)
        return normalize(int32(weights @ v.astype(np.int64)), sums, self.out_num, self.out_shift,
                         self.output)


def check_softmax(core: Any, keys: int, head_dim: int) -> None:
    """What every core of two passes needs for its intermediates to stay in int32.

    Raises:
        ValueError: a constant does not go with these sizes or with the others.
    """
    between("key_len", keys, 1, MAX_KEYS)
    between("head_dim", head_dim, 1, MAX_INPUTS)
    shift = core.score_shift
    most = min((1 << 31) - 1, (32 << (shift + 8)) - 1) - (1 << shift >> 1)
    between("score_limit", core.score_limit, 0, min(1 << 28, most // core.score_mult))


def masked_scores(
    q: np.ndarray, k: np.ndarray, causal: bool, key_padding_mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which keys no query may see, bool [S, K], and the scores q @ k.T, int64 [S, K], MASKED there.

    Args:
        q, k: integers [S, D], [K, D].
        causal: whether a query sees only the keys up to its own place.
        key_padding_mask: as Exact has it.
    """
    masked = np.zeros((len(q), len(k)), bool)
    if causal:
        masked = np.triu(np.ones_like(masked), 1)
    if key_padding_mask is not None:
        masked = masked | (key_padding_mask != 0)
    return masked, np.where(masked, MASKED, int32(q.astype(np.int64) @ k.astype(np.int64).T))


def normalize(
    totals: np.ndarray, sums: np.ndarray, out_num: int, out_shift: int, form: str = "int8"
) -> np.ndarray:
    """totals [S, D] / sums [S] * out_num / 2**out_shift as int8 or int32, one division a row.

    The sum is brought to 16 bits and the ratio to a multiplier; a sum of 0 gives zeros.
    """
    p = np.maximum(bit_length(sums) - 16, 0)
    divisor = int32(sums + ((np.int64(1) << p) >> 1)) >> p
    mult = int32(out_num + (divisor >> 1)) // np.maximum(divisor, 1)
    mult = np.where(sums == 0, 0, mult)
    return requant(totals >> p[:, None], mult[:, None], out_shift, form)


def exact_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float,
    precise: bool = False,
) -> dict[str, int]:
    """The constants of the exact core; the second pass of `precise` reaches 24 octaves down."""
    scale = scale_q * scale_k / math.sqrt(head_dim)
    mult, shift, limit = score_constants(scale, head_dim, 24 if precise else 16)
    num, out_shift = output_constants(scale_v / scale_out)
    return {
        "score_mult": mult,
        "score_shift": shift,
        "score_limit": limit,
        "out_num": num,
        "out_shift": out_shift,
    }


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    hidden: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """Softmax attention, whose result no option changes.

    hidden: key_padding_mask as bool; a query that sees no key gives zeros.
    """
    return floats.attention(q, k, v, q.shape[-1] ** -0.5, causal, hidden)


class TrainableExact(TrainableCore):
    """Per head A = softmax(q @ k.T / sqrt(key_dim)) and context = A @ v. Backwards, with dctx the
    gradient of the context: dv = A.T @ dctx, dA = dctx @ v.T,
    dS = A * (dA - rowsum(dA * A)) / sqrt(key_dim), dq = dS @ k, dk = dS.T @ q.

    With `recompute` the backward pass computes A again, a query row at a time. That sums dv and dk
    row by row, which rounds differently; all else is the same.
    """

    def __init__(
        self, f: Any, name: str, num_heads: int, key_dim: int, causal: bool = False,
        recompute: bool = False, **options: Any,
    ):
        super().__init__(f, name, num_heads, key_dim, causal, recompute)
        self._scale = f.softmax_scale(1, key_dim)

    def hidden(self, head: int, queries: int, keys: int) -> np.ndarray:
        """bool, [keys] or [queries, keys]: which keys queries do not see."""
        at = np.arange(keys)
        hidden: np.ndarray = at >= (keys if self.length is None else self.length)
        if self.causal:
            hidden = hidden | (at > np.arange(queries)[:, None])
        return hidden

    def weigh(self, head: int, scores: np.ndarray) -> np.ndarray:
        """The attention weights of a head's scores, [queries, keys]."""
        scores = self.f.hide(scores, self.hidden(head, *scores.shape))
        weights: np.ndarray = self.f.softmax(scores, self._scale)[0]
        return weights

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        self._operands = list(zip(*(self.heads(x) for x in (q, k, v)), strict=True))
        self._weights = [self.weigh(h, self.f.product(q, k))
                         for h, (q, k, _) in enumerate(self._operands)]
        return np.concatenate([self.f.product(weights, v.T) for weights, (_, _, v) in zip(
            self._weights, self._operands, strict=True)], axis=1)

    def backward(self, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        f = self.f
        found = []
        for h, (own, (q, k, v)) in enumerate(
            zip(self.heads(dcontext), self._operands, strict=True)
        ):
            weights = self.weigh(h, f.product(q, k)) if self.recompute else self._weights[h]
            d = f.softmax_backward(weights, f.product(own, v), self._scale)
            dk, dv = np.zeros_like(k), np.zeros_like(v)
            block = 1 if self.recompute else len(q)
            for i in range(0, len(q), block):
                part = slice(i, i + block)
                dv = f.product(weights[part].T, own[part].T, dv)
                dk = f.product(d[part].T, q[part].T, dk)
            found.append((f.product(d, k.T), dk, dv))
        dq, dk, dv = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return dq, dk, dv


CORE = Core(
    reference=Exact,
    trainable=TrainableExact,
    int16="exact16",
    make_constants=exact_constants,
    floating=floating,
    constants=SOFTMAX,
    options={"precise": FLAG, "block_rows": within(1, MAX_KEYS)},
    masks_keys=True,
    masks_pairs=True,
    steps=True,
    value_widths=True,
    crosses=True,
    most_lsb=0.8,
    variants={
        "full": Variant(),
        "causal": Variant(causal=True),
        "padded": Variant(padded=True),
        "lengths": Variant(lengths=True),
        "causal, lengths": Variant(causal=True, lengths=True),
        "cross": Variant(key_len=7),
        "precise": Variant(options={"precise": True}),
    },
)
