"""Masks that follow minimum cuts: dense within the partitions of the tokens, sparse across them.

All are causal. Densities are Q15, 32768 for 1. Across partitions the tokens near boundaries attend
to boundary tokens; the strength of the cut, lambda, sets how many pairs are added to these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..schema import between
from .mask import Mask

MIN_DENSITY, HALF_DENSITY, MAX_DENSITY = 3277, 16384, 29491  # 0.1, 0.5, 0.9
NEAR = 4  # tokens from a boundary on that attend to boundary tokens


@dataclass
class GatePacket:
    """What the cut of the tokens' graph says.

    Attributes:
        lambda_: the weight of the cut; lambda_prev: what it was before.
        boundary_edges: how many edges cross it.
        boundary_concentration_q15: how much they crowd at few places.
        partition_count: parts that the tokens fall into.
        flags: travel along.
    """

    lambda_: int = 0
    lambda_prev: int = 0
    boundary_edges: int = 0
    boundary_concentration_q15: int = 0
    partition_count: int = 0
    flags: int = 0

    def __post_init__(self) -> None:
        between("lambda", self.lambda_, 0, (1 << 30) - 1)
        between("lambda_prev", self.lambda_prev, 0, (1 << 30) - 1)
        between("boundary_edges", self.boundary_edges, 0, 65535)
        between("boundary_concentration_q15", self.boundary_concentration_q15, 0, 32767)
        between("partition_count", self.partition_count, 0, 65535)


class LambdaDensitySchedule(Protocol):
    """The share of the causal pairs that a gate packet asks for."""

    def density_q15(self, gate: GatePacket) -> int: ...


@dataclass(frozen=True)
class Linear:
    """From min_density_q15 at a lambda of 30 to max_density_q15 at 300."""

    min_density_q15: int
    max_density_q15: int

    def __post_init__(self) -> None:
        between("min_density_q15", self.min_density_q15, 0, 32767)
        between("max_density_q15", self.max_density_q15, 0, 32767)

    def density_q15(self, gate: GatePacket) -> int:
        above = min(max(gate.lambda_, 30), 300) - 30
        span = self.max_density_q15 - self.min_density_q15
        return self.min_density_q15 + (span * above + 135) // 270


@dataclass(frozen=True)
class Threshold:
    """0.9 from a lambda on, 0.1 below it."""

    dense_above_lambda: int

    def __post_init__(self) -> None:
        between("dense_above_lambda", self.dense_above_lambda, 0, (1 << 30) - 1)

    def density_q15(self, gate: GatePacket) -> int:
        return MAX_DENSITY if gate.lambda_ >= self.dense_above_lambda else MIN_DENSITY


@dataclass(frozen=True)
class Adaptive:
    """0.1 + 0.6 min(lambda/150, 1) + 0.2 concentration - min(0.05 partitions, 0.2), in 0.1..0.9."""

    def density_q15(self, gate: GatePacket) -> int:
        thousandfold = (
            131072 * min(gate.lambda_, 150) + 3276800
            + 200 * gate.boundary_concentration_q15 - 1638400 * min(gate.partition_count, 4)
        )  # fmt: skip
        return min(max((thousandfold + 500) // 1000, MIN_DENSITY), MAX_DENSITY)


@dataclass(frozen=True)
class SparsityConfig:
    """How a mask is built.

    Attributes:
        intra_partition_attention: whether tokens attend within their partition.
        boundary_cross_attention: whether some attend across.
        lambda_based_density: sets the target density, up to which pairs are added where both of
            the above are set; None for 0.5.
        max_cross_partition_edges: boundary tokens that are considered.
        min_density_q15, max_density_q15: a target beyond them gives the full causal mask.
    """

    intra_partition_attention: bool = True
    boundary_cross_attention: bool = True
    lambda_based_density: LambdaDensitySchedule | None = field(default_factory=Adaptive)
    max_cross_partition_edges: int = 20
    min_density_q15: int = MIN_DENSITY
    max_density_q15: int = MAX_DENSITY

    def __post_init__(self) -> None:
        between("max_cross_partition_edges", self.max_cross_partition_edges, 0, 65535)
        between("min_density_q15", self.min_density_q15, 0, 32767)
        between("max_density_q15", self.max_density_q15, 0, 32767)

    def density_q15(self, gate: GatePacket) -> int:
        """The target density, Q15."""
        schedule = self.lambda_based_density
        return schedule.density_q15(gate) if schedule else HALF_DENSITY


class MincutMask(Mask):
    """A causal mask, whose density counts the pairs that a causal mask can have.

    Attributes:
        partition_boundaries: the first token of each partition.
        boundary_tokens: those where one partition gives way to another.
    """

    def __init__(
        self, dense: np.ndarray, partition_boundaries: list[int], boundary_tokens: list[int]
    ):
        super().__init__(len(dense), [Mask.from_dense(dense).row(i) for i in range(len(dense))])
        self.partition_boundaries = partition_boundaries
        self.boundary_tokens = boundary_tokens

    @property
    def max_positions(self) -> int:
        return self.seq_len * (self.seq_len + 1) // 2

    @property
    def positions(self) -> list[tuple[int, int]]:
        """The pairs (query, key) that attend, row after row."""
        return [(i, j) for i, j in np.argwhere(self.dense).tolist()]


def empty(seq_len: int = 1) -> MincutMask:
    """No query sees any key."""
    return MincutMask(np.zeros((seq_len, seq_len), bool), [], [])


def full(seq_len: int) -> MincutMask:
    """All that is causal."""
    return MincutMask(np.tri(seq_len, dtype=bool), [0], [])


def should_use_sparse(gate: GatePacket, seq_len: int) -> bool:
    """At least 16 tokens, two partitions and a lambda of 30."""
    return seq_len >= 16 and gate.partition_count >= 2 and gate.lambda_ >= 30


def build_mask(
    gate: GatePacket,
    seq_len: int,
    config: SparsityConfig | None = None,
    labels: Sequence[int] | None = None,
) -> MincutMask:
    """The mask of a cut.

    Each token attends within its partition; a boundary token, and the three behind it, to all
    boundary tokens up to them. Where the target density asks for more, pairs across partitions are
    added in the order of how closely their tokens follow upon boundary tokens.

    Args:
        gate: strength of the cut.
        seq_len: number of tokens.
        config: see there; None for the default.
        labels: the partition of each token, see cut.partition; without them the partitions are
            runs of equal length, or one where there would be more of them than tokens.

    Raises:
        ValueError: labels are not seq_len whole numbers from 0.
    """
    config = config or SparsityConfig()
    if labels is None:
        count = gate.partition_count if 1 <= gate.partition_count <= seq_len else 1
        labels = [min(i // (seq_len // count), count - 1) for i in range(seq_len)]
    if len(labels) != seq_len:
        raise ValueError(f"labels: expected {seq_len}, got {len(labels)}")
    for label in labels:
        between("labels", label, 0, 65535)
    target = config.density_q15(gate)
    sparse = should_use_sparse(gate, seq_len)
    if not (sparse and config.min_density_q15 <= target <= config.max_density_q15):
        return full(seq_len)
    of = np.asarray(labels)
    change = np.concatenate([[True], of[1:] != of[:-1]])
    tokens = np.flatnonzero(change)[: config.max_cross_partition_edges]
    at = np.arange(seq_len)
    distances = at - np.maximum.accumulate(np.where(np.isin(at, tokens), at, 0))

    same = of[:, None] == of[None, :]
    causal = np.tri(seq_len, dtype=bool)
    dense = same & causal & config.intra_partition_attention
    if config.boundary_cross_attention and tokens.size:
        near = (tokens[:, None] + np.arange(NEAR)).ravel()
        near = near[near < seq_len]
        dense[np.ix_(near, tokens)] |= causal[np.ix_(near, tokens)]
        if config.intra_partition_attention:
            quota = ((target * (seq_len * (seq_len + 1) // 2) + 16384) >> 15) - int(dense.sum())
            i, j = np.nonzero(causal & ~same & ~dense)  # row after row
            added = np.argsort(distances[i] + distances[j], kind="stable")[: max(quota, 0)]
            dense[i[added], j[added]] = True
    firsts = np.unique(of, return_index=True)[1]
    return MincutMask(dense, sorted(firsts.tolist()), tokens.tolist())


def from_cut(
    seq_len: int, lambda_: int, partition_count: int, labels: Sequence[int] | None = None
) -> MincutMask:
    """The mask of a cut of this weight with the default configuration."""
    gate = GatePacket(lambda_, partition_count=partition_count)
    return build_mask(gate, seq_len, None, labels)


def estimated_flops_ratio(mask: Mask, seq_len: int) -> float:
    """Pairs that attend, to those of full causal attention."""
    return mask.num_positions / (seq_len * (seq_len + 1) // 2)
