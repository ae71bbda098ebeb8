"""The mask itself, as a matrix of bool; the device module of the same name keeps spans."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..numerics.integers import MASKED
from ..schema import between

MAX_SEQ_LEN = 4096  # as on the device


class Mask:
    """Which keys each query may attend to.

    Args:
        seq_len: number of queries and of keys, 1 to 4096.
        rows: for each query the rising boundaries start, end, start, end ... of the keys it sees.

    Raises:
        ValueError: the rows are not seq_len, or boundaries are not rising, in pairs and at most
            seq_len.
    """

    def __init__(self, seq_len: int, rows: Iterable[Sequence[int]]):
        rows = list(rows)
        self.dense = np.zeros((_length(seq_len), seq_len), bool)
        if len(rows) != seq_len:
            raise ValueError(f"mask: expected {seq_len} rows, got {len(rows)}")
        for i, row in enumerate(rows):
            at = np.array(row, np.int64)
            if at.size and (at[0] < 0 or at[-1] > seq_len or (np.diff(at) <= 0).any()):
                raise ValueError(
                    f"mask: row {i}: expected rising boundaries up to {seq_len}, got {list(row)}"
                )
            if at.size % 2:
                raise ValueError(
                    f"mask: row {i}: expected an end to each start, got {list(row)}"
                )
            for start, end in at.reshape(-1, 2):
                self.dense[i, start:end] = True

    @classmethod
    def from_dense(cls, dense: np.ndarray) -> "Mask":
        """The mask of a bool matrix [seq_len, seq_len]."""
        if dense.ndim != 2 or dense.shape[0] != dense.shape[1]:
            raise ValueError(f"mask: expected a square matrix, got {list(dense.shape)}")
        mask = cls.__new__(cls)
        _length(len(dense))
        mask.dense = dense.astype(bool)
        return mask

    def hidden(self) -> np.ndarray:
        """As a key_padding_mask of pairs, int8 [seq_len, seq_len]: 1 where a key is not seen."""
        return (~self.dense).astype(np.int8)

    @classmethod
    def from_keys(cls, seq_len: int, rows: Iterable[Sequence[int]]) -> "Mask":
        """Each row lists the keys that the query sees, rising."""
        return cls(seq_len, [boundaries(keys) for keys in rows])

    @classmethod
    def from_bits(cls, seq_len: int, bits: np.ndarray) -> "Mask":
        """From what `to_bits` gives, flat or not.

        Raises:
            ValueError: it has another size, or bits beyond the last key.
        """
        stride = (_length(seq_len) + 7) // 8
        if bits.size != seq_len * stride:
            raise ValueError(f"bits: expected {seq_len * stride} int8 values, got {bits.size}")
        packed = bits.astype(np.uint8).reshape(seq_len, stride)
        return cls(seq_len, map(_edges, np.unpackbits(packed, axis=1, bitorder="little")))

    def to_bits(self) -> np.ndarray:
        """uint8 [seq_len, ceil(seq_len / 8)]: key j is bit j & 7 of byte j >> 3 of its row."""
        return np.packbits(self.dense, axis=1, bitorder="little")

    def row(self, i: int) -> list[int]:
        """The boundaries of what query i sees."""
        return _edges(self.dense[i])

    @property
    def seq_len(self) -> int:
        return len(self.dense)

    @property
    def max_positions(self) -> int:
        """The pairs of query and key that there could be."""
        return self.dense.size

    @property
    def num_positions(self) -> int:
        """The pairs of query and key that attend."""
        return int(self.dense.sum())

    @property
    def density(self) -> float:
        """Share of the pairs that attend, 0 to 1."""
        return self.num_positions / self.max_positions

    @property
    def sparsity(self) -> float:
        """Share of the pairs that do not, 0 to 1."""
        return 1 - self.density

    def can_attend(self, query: int, key: int) -> bool:
        """Whether this query sees this key; ValueError where there is no such pair."""
        for what, value in (("query", query), ("key", key)):
            if not 0 <= value < self.seq_len:
                raise ValueError(f"{what}: expected 0 to {self.seq_len - 1}, got {value}")
        return bool(self.dense[query, key])

    def union(self, other: "Mask") -> "Mask":
        """What either mask shows; ValueError for masks of different seq_len."""
        return Mask.from_dense(self.dense | self._same(other))

    def intersection(self, other: "Mask") -> "Mask":
        """What both masks show; ValueError for masks of different seq_len."""
        return Mask.from_dense(self.dense & self._same(other))

    def complement(self) -> "Mask":
        """What the mask hides."""
        return Mask.from_dense(~self.dense)

    def visualize(self, size: int = 20) -> str:
        """A picture in characters of the first `size` queries and keys."""
        return "".join(
            "".join("█" if seen else "·" for seen in row[:size]) + "\n"
            for row in self.dense[:size]
        )

    def to_attention_mask(self) -> np.ndarray:
        """int32 [S, S]: 0 where the query sees the key, else -2**30, for minus infinity."""
        return np.where(self.dense, 0, MASKED).astype(np.int32)

    def apply_to_scores(self, scores: np.ndarray) -> np.ndarray:
        """int32 scores [S, S] with -2**30 where the query does not see the key."""
        return np.where(self.dense, scores, MASKED).astype(np.int32)

    def _same(self, other: "Mask") -> np.ndarray:
        if other.seq_len != self.seq_len:
            raise ValueError(f"mask: expected one of seq_len {self.seq_len}, got {other.seq_len}")
        return other.dense


def boundaries(keys: Iterable[int]) -> list[int]:
    """Boundaries of rising keys.

    Raises:
        ValueError: a key comes twice or after a larger one, or is none.
    """
    keys = list(keys)
    for key in keys:
        between("keys", key, 0, MAX_SEQ_LEN)
    at = np.array(keys, np.int64)
    gaps = np.diff(at)
    if (gaps <= 0).any():
        n = int(np.argmax(gaps <= 0))
        raise ValueError(f"keys: expected each once, rising, got {at[n + 1]} after {at[n]}")
    if not at.size:
        return []
    starts = at[np.concatenate([[True], gaps > 1])]
    ends = at[np.concatenate([gaps > 1, [True]])] + 1
    return np.stack([starts, ends], axis=1).ravel().tolist()


def _edges(seen: np.ndarray) -> list[int]:
    return np.flatnonzero(np.diff(np.pad(seen.astype(np.int8), 1))).tolist()


def _length(seq_len: int) -> int:
    if not 1 <= seq_len <= MAX_SEQ_LEN:
        raise ValueError(f"seq_len: expected 1 to {MAX_SEQ_LEN}, got {seq_len}")
    return seq_len
