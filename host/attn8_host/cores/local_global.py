"""A window and global tokens, blended by a gate; the device module of the same name is its twin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..numerics.integers import INT32, bit_length, exp2, int32, rounded
from ..numerics.parameter import Parameter
from ..schema import COUNT, INTEGERS, SIZE, Tensor, between
from . import exact
from .base import SOFTMAX, Core, Parameters, TrainableCore, Variant
from .exact import MAX_KEYS, check_softmax, exact_constants
from .flash import one_pass, one_pass_constants
from .sparse import TrainableMasked


@dataclass
class LocalGlobal:
    """out = gate * local + (1 - gate) * distant, in integers.

    local is softmax attention to `window` tokens on each side, distant to the tokens
    global_indices alone, with a softmax of its own. gate: uint16 [D] in Q15.

    Each of the two takes the one pass of Flash where it is of more than 516 keys: windows of that
    width, or so many global tokens.

    After a call `outputs` holds local_weights uint16 [S, width] (softmax numerators in Q15, from a
    row's first key on; none of one pass), and local_sums and global_sums int32 [S].
    """

    max_seq_len: ClassVar[int] = 1 << 15

    gate: np.ndarray
    window: int
    global_indices: Sequence[int]
    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    causal: bool = False

    def update_global_indices(self, indices: Sequence[int]) -> None:
        """The positions of the tokens that every token sees (causal: every later one)."""
        self.global_indices = indices

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes or with each other."""
        width, count = self.width(seq_len), len(set(self.global_indices))
        check_softmax(self, min(width, MAX_KEYS), head_dim)
        if max(width, count) > MAX_KEYS:
            one_pass_constants(self.score_mult, self.score_shift, head_dim)
        for index in self.global_indices:
            between("global_indices", index, 0, seq_len - 1)

    def width(self, seq_len: int) -> int:
        """Keys of the widest window."""
        return min(seq_len, self.window + 1 if self.causal else 2 * self.window + 1)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: as Exact has it; of both parts.
        """
        seq_len = len(q)
        at, to = np.arange(seq_len)[:, None], np.arange(seq_len)[None, :]
        near = abs(at - to) <= self.window
        far = np.isin(to, self.global_indices) & (at >= 0)
        if self.causal:
            near, far = near & (to <= at), far & (to <= at)
        if key_padding_mask is not None:
            near, far = near & (key_padding_mask == 0), far & (key_padding_mask == 0)
        scores = int32(q.astype(np.int64) @ k.astype(np.int64).T)
        width, count = self.width(seq_len), len(set(self.global_indices))
        weights, sums, local = self._softmax(scores, near, v, width > MAX_KEYS)
        _, global_sums, distant = self._softmax(scores, far, v, count > MAX_KEYS)

        self.outputs = {}
        if width <= MAX_KEYS:
            start = np.maximum(np.arange(seq_len) - self.window, 0)
            columns = start[:, None] + np.arange(width)
            inside = columns < seq_len
            packed = np.take_along_axis(weights, np.where(inside, columns, 0), axis=1) * inside
            self.outputs["local_weights"] = packed.astype(np.uint16)
        self.outputs |= {
            "local_sums": sums.astype(np.int32),
            "global_sums": global_sums.astype(np.int32),
        }
        gate = self.gate.astype(np.int64)
        blend = int32(int32(local * gate) + distant * (32768 - gate))
        result: np.ndarray = np.clip((blend + (1 << 19)) >> 20, -127, 127).astype(np.int8)
        return result

    def _softmax(
        self, scores: np.ndarray, seen: np.ndarray, v: np.ndarray, in_one_pass: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numerators, their sums and the output, int16 with 5 more bits than the result.

        One pass has no numerators that all refer to one octave, and gives none.
        """
        if in_one_pass:
            score = one_pass_constants(self.score_mult, self.score_shift, v.shape[1])
            _, sums, total = one_pass(scores, seen, v, *score)
            return np.zeros(0), sums, self._normalize(sums, total)
        largest = np.where(seen, scores, INT32.min).max(axis=1, keepdims=True)
        difference = np.where(seen, largest - scores, 0)
        kept = seen & (difference <= self.score_limit)
        t = int32(np.where(kept, difference, 0) * self.score_mult)
        t = int32(t + ((1 << self.score_shift) >> 1)) >> self.score_shift
        weights = np.where(kept, exp2(t), 0)
        sums = int32(weights.sum(axis=1))
        return weights, sums, self._normalize(sums, int32(weights @ v.astype(np.int64)))

    def _normalize(self, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
        p = np.maximum(bit_length(sums) - 16, 0)
        divisor = np.maximum((sums + ((np.int64(1) << p) >> 1)) >> p, 1)
        mult = np.where(sums > 0, int32(self.out_num + (divisor >> 1)) // divisor, 0)
        out = rounded(total >> p[:, None], mult[:, None], self.out_shift)
        clamped: np.ndarray = np.clip(out, -32767, 32767)
        return clamped


def local_global_constants(
    head_dim: int,
    scale_q: float,
    scale_k: float,
    scale_v: float,
    scale_out: float,
    gate: np.ndarray,
    window: int,
    global_indices: Sequence[int],
) -> dict[str, int | np.ndarray]:
    """The constants of the local_global core, and its gate in Q15 as uint16 [num_heads, head_dim].

    Args:
        gate: what the sigmoid is taken of, float [num_heads, head_dim].
        window, global_indices: options of the core; no constant depends on them.
    """
    constants = exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out / 32)
    blend = np.floor(32768 / (1 + np.exp(-np.asarray(gate, np.float64))) + 0.5)
    return {**constants, "gate": blend.astype(np.uint16)}


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    gate: np.ndarray,
    window: int,
    global_indices: Sequence[int],
    hidden: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """sigmoid(gate) * local + (1 - sigmoid(gate)) * distant, a softmax each.

    gate: [num_heads, D]; hidden: as exact.floating has it. A row that sees no global token has a
    distant part of 0.
    """
    at, to = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None, :]

    def attend(seen: np.ndarray) -> np.ndarray:
        return exact.floating(q, k, v, causal, ~seen if hidden is None else ~seen | hidden)

    local = attend(abs(at - to) <= window)
    distant = attend(np.isin(to, list(global_indices)) & (at >= 0))
    share = 1 / (1 + np.exp(-gate))[..., None, :]
    result: np.ndarray = share * local + (1 - share) * distant
    return result


def half(num_heads: int, head_dim: int, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A gate of 0.5."""
    return {"gate": np.zeros((num_heads, head_dim))}


def gates(
    rng: np.random.Generator, num_heads: int, head_dim: int, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Random gates."""
    return {"gate": rng.normal(size=(num_heads, head_dim))}


class _Part(TrainableMasked):
    """One of the two softmaxes, over the keys that `shown` says of [query, key]."""

    def __init__(self, shown: Callable[[np.ndarray, np.ndarray], np.ndarray], *arguments: Any):
        super().__init__(*arguments)
        self._shown = shown

    def seen(self, head: int, seq_len: int) -> np.ndarray:
        at = np.arange(seq_len)
        return self._shown(at[:, None], at[None, :])


class TrainableLocalGlobal(TrainableCore):
    """context = g * local + (1 - g) * distant, g = sigmoid(gate).

    Backwards, with dctx the gradient of the context: dgate = rowsum(dctx * (local - distant)) *
    g * (1 - g), and those of local and distant are g * dctx and dctx - g * dctx. The gradients of
    both softmaxes' scores are added up.
    """

    def __init__(
        self, f: Any, name: str, num_heads: int, key_dim: int, causal: bool, recompute: bool,
        gate: np.ndarray, window: int, global_indices: Sequence[int], **options: Any,
    ):
        super().__init__(f, name, num_heads, key_dim, causal, recompute)
        self.gate = Parameter(f"{name}.core.gate", gate)
        shape = (f, name, num_heads, key_dim, causal, recompute)
        self._scale = f.softmax_scale(1, key_dim)
        self._parts = (
            _Part(lambda at, to: abs(at - to) <= window, *shape),
            _Part(lambda at, to: np.isin(to, list(global_indices)) & (at >= 0), *shape),
        )

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        f = self.f
        self._operands = q, k, v
        self._share = f.sigmoid(self.gate.value.ravel())
        for part in self._parts:
            part.length = self.length
        self._weights = self._weigh(q, k)
        local, distant = (
            np.concatenate([f.product(weights, x.T) for weights, x in
                            zip(part, self.heads(v), strict=True)], axis=1)
            for part in self._weights)
        self._difference = f.subtract(local, distant)
        context: np.ndarray = f.multiply(self._difference, self._share, distant)
        return context

    def _weigh(self, q: np.ndarray, k: np.ndarray) -> list[list[np.ndarray]]:
        """Of each part, the attention weights of each head; the scores of both are one."""
        scores = [self.f.product(*pair) for pair in
                  zip(self.heads(q), self.heads(k), strict=True)]
        return [[part.weigh(h, each) for h, each in enumerate(scores)] for part in self._parts]

    def backward(self, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        f, share = self.f, self._share
        slope = f.subtract(share, f.multiply(share, share))
        grads = f.multiply(f.multiply(dcontext, self._difference), slope)
        shape = self.gate.grad.shape
        self.gate.grad = f.column_sums(grads, self.gate.grad.ravel()).reshape(shape)
        local = f.multiply(dcontext, share)
        own = local, f.subtract(dcontext, local)
        weights = self._weigh(*self._operands[:2]) if self.recompute else self._weights
        found = []
        for h, (q, k, v, *grad) in enumerate(
            zip(*(self.heads(x) for x in (*self._operands, *own)), strict=True)
        ):
            d = f.add(*(f.softmax_backward(part[h], f.product(each, v), self._scale)
                        for part, each in zip(weights, grad, strict=True)))
            dk, dv = np.zeros_like(k), np.zeros_like(v)
            block = 1 if self.recompute else len(q)
            for i in range(0, len(q), block):
                rows = slice(i, i + block)
                for part, each in zip(weights, grad, strict=True):
                    dv = f.product(part[h][rows].T, each[rows].T, dv)
                dk = f.product(d[rows].T, q[rows].T, dk)
            found.append((f.product(d, k.T), dk, dv))
        dq, dk, dv = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return dq, dk, dv

    def collect_params(self) -> list[Any]:
        return [self.gate]


def _retrained(
    options: Mapping[str, Any], scales: Mapping[str, float], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Parameters]:
    """The gate, of which the int8 core has the sigmoid in Q15, to a quarter of a step of that."""
    share = np.clip(tensors["gate"] / 32768, 2.0**-17, 1 - 2.0**-17)
    return {}, {"gate": np.log(share / (1 - share))}


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """Two products for each pair of query and key, in a window and with a global token."""
    window, chosen = options["window"], set(options["global_indices"])
    pairs = 0
    for t in range(seq_len):
        last = t if causal else min(seq_len - 1, t + window)
        pairs += last - max(0, t - window) + 1
        pairs += sum(i <= t or not causal for i in chosen)
    return 2 * head_dim * pairs


CORE = Core(
    reference=LocalGlobal,
    trainable=TrainableLocalGlobal,
    retrained=_retrained,
    make_constants=local_global_constants,
    floating=floating,
    constants=SOFTMAX,
    options={"window": COUNT, "global_indices": INTEGERS, "block_rows": SIZE},
    masks_keys=True,
    masks_pairs=True,
    defaults=half,
    tensors=lambda heads, dim: {"gate": Tensor(np.uint16, (heads, dim))},
    ranges={"core.gate": (0, 1 << 15)},
    float_tensors=lambda heads, dim: {"gate": Tensor(float, (heads, dim))},
    most_lsb=0.75,
    variants={
        "full": Variant(options={"window": 4, "global_indices": [0]}),
        "causal": Variant(causal=True, options={"window": 2, "global_indices": [0, 3]}),
        "local": Variant(options={"window": 3, "global_indices": []}),
        "padded": Variant(padded=True, options={"window": 2, "global_indices": [0, 1]}),
        "lengths": Variant(lengths=True, options={"window": 2, "global_indices": [0, 4]}),
    },
    planned=lambda seq_len: {"window": 4, "global_indices": [0]},
    parameters=gates,
    work=_work,
)
