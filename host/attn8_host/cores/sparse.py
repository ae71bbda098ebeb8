"""Softmax attention over the pairs that a mask shows: the exact core, under that mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import masks
from ..errors import ModelError
from ..masks import Mask, build, causal
from ..masks.mask import MAX_SEQ_LEN
from ..schema import LIST, Tensor, between, within
from . import exact
from .base import SOFTMAX, Core, Parameters, Variant
from .exact import MAX_KEYS, Exact, TrainableExact, exact_constants
from .flash import Flash, one_pass_constants


@dataclass
class Sparse:
    """out = softmax(q @ k.T * scale) @ v over the pairs of the mask; a query without keys gives 0.

    To the bit what Exact gives under the mask; and where a row of the mask shows more than 516 keys
    what Flash gives, all rows, and as `outputs` what it has.

    After a call, of the former, `scores` int32 [pairs], `pairs` uint16 [pairs, 2] (key, and softmax
    numerator in Q15) row after row, and `sums` int32 [S] (of each row's numerators) hold what it
    computed; of pairs that a key_padding_mask hides as well nothing, but zeros behind the others.

    Args:
        mask: a Mask, its bits (see Mask.to_bits) or its description (see masks.build).
    """

    max_seq_len: ClassVar[int] = MAX_SEQ_LEN

    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    mask: Mask | np.ndarray | Sequence[Any]
    causal: bool = False

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each; returns int8 [S, D].

        Args:
            key_padding_mask: as Exact has it; it hides more.

        Raises:
            ValueError: the mask is none of this sequence length.
        """
        seen = self.seen(len(q))
        pairs = int(seen.sum())
        one_pass = self.takes_one_pass(seen)
        if key_padding_mask is not None:
            seen = seen & (key_padding_mask == 0)
        if one_pass:
            score = one_pass_constants(self.score_mult, self.score_shift, q.shape[1])
            flash = Flash(*score, self.out_num, self.out_shift)
            out = flash(q, k, v, ~seen)
            self.outputs: dict[str, np.ndarray] = dict(flash.outputs)
            return out
        exact = Exact(
            self.score_mult, self.score_shift, self.score_limit, self.out_num, self.out_shift
        )
        out = exact(q, k, v, ~seen)
        keys = np.nonzero(seen)[1]
        rest = pairs - len(keys)
        self.scores = np.pad(exact.scores[seen], (0, rest))
        found = np.stack([keys, exact.weights[seen]], axis=1).astype(np.uint16)
        self.pairs = np.pad(found, ((0, rest), (0, 0)))
        self.sums = exact.sums
        self.outputs = {
            "scores": self.scores, "pairs": self.pairs, "sums": self.sums}
        return out

    @staticmethod
    def takes_one_pass(seen: np.ndarray) -> bool:
        """Whether a row of a mask, bool [S, S], shows more keys than two passes can sum."""
        return bool(seen.sum(axis=1).max() > MAX_KEYS)

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where constants or the mask do not go with these sizes."""
        between("seq_len", seq_len, 1, MAX_SEQ_LEN)
        exact.check_softmax(self, min(seq_len, MAX_KEYS), head_dim)
        if self.takes_one_pass(self.seen(seq_len)):
            one_pass_constants(self.score_mult, self.score_shift, head_dim)

    def seen(self, seq_len: int) -> np.ndarray:
        """bool [S, S]: which keys each query attends to."""
        mask = self.mask
        if isinstance(mask, np.ndarray):
            mask = Mask.from_bits(seq_len, mask)
        elif not isinstance(mask, Mask):
            mask = build(seq_len, *mask)
        if mask.seq_len != seq_len:
            raise ValueError(f"mask: expected one of seq_len {seq_len}, got {mask.seq_len}")
        if self.causal:
            mask = mask.intersection(causal(seq_len))
        return mask.dense


def sparse_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float,
    mask: Any = None,
) -> dict[str, Any]:
    """Those of the exact core, which depend on no mask; the bits of the heads' masks stay."""
    constants = exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out)
    return {**constants, "mask": mask} if isinstance(mask, np.ndarray) else constants


def floating(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    mask: Sequence[Any] | np.ndarray,
    hidden: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """Softmax attention over the pairs that a mask shows; a row without any gives zeros.

    mask: its description (see masks.build), or the bits of each head's mask; hidden: as
    key_padding_mask of the core, of bools.
    """
    seq_len = q.shape[-2]
    if isinstance(mask, np.ndarray):
        seen = np.stack([masks.Mask.from_bits(seq_len, bits).dense for bits in mask])
    else:
        seen = masks.build(seq_len, *mask).dense
    if causal:
        seen = np.tril(seen)
    if hidden is not None:
        seen = seen & ~hidden
    return exact.floating(q, k, v, False, ~seen)


class TrainableMasked(TrainableExact):
    """The softmax of the pairs that a mask shows; a query without keys gives zeros."""

    def seen(self, head: int, seq_len: int) -> np.ndarray:
        """bool [S, S]: which keys each query attends to."""
        raise NotImplementedError

    def hidden(self, head: int, queries: int, keys: int) -> np.ndarray:
        hidden: np.ndarray = super().hidden(head, queries, keys) | ~self.seen(head, keys)
        return hidden

    def weigh(self, head: int, scores: np.ndarray) -> np.ndarray:
        return np.where(self.hidden(head, *scores.shape), 0, super().weigh(head, scores))


class TrainableSparse(TrainableMasked):
    """With a mask of its options, or the bits of one for each head, in hexadecimal."""

    def __init__(
        self, f: Any, name: str, num_heads: int, key_dim: int, causal: bool = False,
        recompute: bool = False, mask: Sequence[Any] = (), masks: Sequence[str] = (),
        **options: Any,
    ):
        super().__init__(f, name, num_heads, key_dim, causal, recompute)
        self._mask, self._masks = mask, masks
        if masks and len(masks) != num_heads:
            raise ModelError(f"{name}.constants.masks: expected one a head, {num_heads}, got "
                             f"{len(masks)}")

    def seen(self, head: int, seq_len: int) -> np.ndarray:
        if not self._masks:
            return build(seq_len, *self._mask).dense
        bits = np.frombuffer(bytes.fromhex(self._masks[head]), np.uint8)
        return Mask.from_bits(seq_len, bits).dense


def _retrained(
    options: Mapping[str, Any], scales: Mapping[str, float], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Parameters]:
    if "mask" not in tensors:
        return {}, {}
    return {"masks": [bits.tobytes().hex() for bits in tensors["mask"]]}, {}


MASKS: dict[str, list[Any]] = {
    "window": ["local_window", 2],
    "full": ["full"],
    "causal": ["causal"],
    "globals": ["global_indices", [0, 2]],
    "local_global": ["local_global", 1, [0, 3]],
    "blocks": ["block_diagonal", 3],
    "strided": ["strided", 1, 4],
    "random": ["random", 0.4, 3],
    "hnsw_layers": ["from_hnsw_layers", [[0, 1, 2, 3, 4], [0, 2], [2]]],
    "hnsw_edges": ["from_hnsw_edges", [[0, 4], [1, 2], [3, 1]]],
    "hnsw_adaptive": ["adaptive", 1, [[0, 4], [1, 3]]],
    "mincut": ["from_cut", 150, 3],
}


def _tensors(num_heads: int, head_dim: int) -> dict[str, Tensor]:
    return {"mask": Tensor(np.uint8, (num_heads, None), needed=False)}


def _work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """Two products for each pair of query and key that the mask shows."""
    if "mask" in tensors:
        mask = Mask.from_bits(seq_len, tensors["mask"])
    else:
        mask = build(seq_len, *options["mask"])
    seen = np.tril(mask.dense) if causal else mask.dense
    return 2 * head_dim * int(seen.sum())


CORE = Core(
    reference=Sparse,
    trainable=TrainableSparse,
    training_constants={"masks": LIST},
    retrained=_retrained,
    make_constants=sparse_constants,
    floating=floating,
    constants=SOFTMAX,
    options={"mask": LIST, "block_rows": within(1, MAX_KEYS)},
    masks_keys=True,
    masks_pairs=True,
    tensors=_tensors,
    float_tensors=_tensors,
    most_lsb=0.7,
    variants={
        **{name: Variant(options={"mask": mask}) for name, mask in MASKS.items()},
        "random causal": Variant(causal=True, options={"mask": MASKS["random"]}),
        "padded": Variant(padded=True, options={"mask": MASKS["window"]}),
        "lengths": Variant(lengths=True, options={"mask": MASKS["window"]}),
        "random causal, lengths": Variant(causal=True, lengths=True,
                                          options={"mask": MASKS["random"]}),
    },
    planned=lambda seq_len: {"mask": ["local_window", 4]},
    work=_work,
)
