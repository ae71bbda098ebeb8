# Masks that follow minimum cuts: dense within the partitions of the tokens; across them tokens near
# boundaries attend to boundary tokens, and more where the strength lambda of the cut says so. All
# are causal. Densities are Q15.
from .. import checks
from .mask import Mask, boundaries, length, several

MIN_DENSITY, HALF_DENSITY, MAX_DENSITY = 3277, 16384, 29491  # 0.1, 0.5, 0.9
NEAR = 4  # tokens from a boundary on that attend to boundary tokens


class GatePacket:
    # What the cut of the tokens' graph says: its weight now and before, the edges it crosses, how
    # much these crowd (Q15), the partitions, and flags that travel along

    def __init__(self, lambda_=0, lambda_prev=0, boundary_edges=0, boundary_concentration_q15=0,
                 partition_count=0, flags=0):
        self.lambda_ = checks.between("lambda", lambda_, 0, (1 << 30) - 1)
        self.lambda_prev = checks.between("lambda_prev", lambda_prev, 0, (1 << 30) - 1)
        self.boundary_edges = checks.between("boundary_edges", boundary_edges, 0, 65535)
        self.boundary_concentration_q15 = checks.between(
            "boundary_concentration_q15", boundary_concentration_q15, 0, 32767)
        self.partition_count = checks.between("partition_count", partition_count, 0, 65535)
        self.flags = flags


class Linear:
    # From min_density_q15 at a lambda of 30 to max_density_q15 at 300

    def __init__(self, min_density_q15, max_density_q15):
        self.min_density_q15 = checks.between("min_density_q15", min_density_q15, 0, 32767)
        self.max_density_q15 = checks.between("max_density_q15", max_density_q15, 0, 32767)

    def density_q15(self, gate):
        above = min(max(gate.lambda_, 30), 300) - 30
        span = self.max_density_q15 - self.min_density_q15
        return self.min_density_q15 + (span * above + 135) // 270


class Threshold:
    # 0.9 from a lambda on, 0.1 below it

    def __init__(self, dense_above_lambda):
        self.dense_above_lambda = checks.between("dense_above_lambda", dense_above_lambda, 0,
                                                 (1 << 30) - 1)

    def density_q15(self, gate):
        return MAX_DENSITY if gate.lambda_ >= self.dense_above_lambda else MIN_DENSITY


class Adaptive:
    # 0.1 + 0.6 * lambda/150 (at most 1), + 0.2 * boundary concentration, - 0.05 for each partition
    # (at most 0.2); 0.1 to 0.9

    def density_q15(self, gate):
        thousandfold = (131072 * min(gate.lambda_, 150) + 3276800
                        + 200 * gate.boundary_concentration_q15
                        - 1638400 * min(gate.partition_count, 4))
        return min(max((thousandfold + 500) // 1000, MIN_DENSITY), MAX_DENSITY)


class SparsityConfig:
    # lambda_based_density: Linear, Threshold or Adaptive; None for 0.5. Pairs are added up to this
    # target density where both kinds of attention are on; beyond min_density_q15 or
    # max_density_q15 it gives the full causal mask.

    def __init__(self, intra_partition_attention=True, boundary_cross_attention=True,
                 lambda_based_density=Adaptive(), max_cross_partition_edges=20,
                 min_density_q15=MIN_DENSITY, max_density_q15=MAX_DENSITY):
        self.intra_partition_attention = intra_partition_attention
        self.boundary_cross_attention = boundary_cross_attention
        self.lambda_based_density = lambda_based_density
        self.max_cross_partition_edges = checks.between(
            "max_cross_partition_edges", max_cross_partition_edges, 0, 65535)
        self.min_density_q15 = checks.between("min_density_q15", min_density_q15, 0, 32767)
        self.max_density_q15 = checks.between("max_density_q15", max_density_q15, 0, 32767)

    def density_q15(self, gate):
        schedule = self.lambda_based_density
        return schedule.density_q15(gate) if schedule else HALF_DENSITY


class MincutMask(Mask):
    # A causal mask, whose density counts the pairs that a causal mask can have. With the first
    # token of each partition, and those where one partition gives way to another.

    def __init__(self, seq_len, rows, partition_boundaries, boundary_tokens):
        super().__init__(seq_len, rows)
        self.max_positions = seq_len * (seq_len + 1) // 2
        self.partition_boundaries = partition_boundaries
        self.boundary_tokens = boundary_tokens

    @property
    def positions(self):
        # The pairs (query, key) that attend, row after row
        pairs = []
        for i in range(self.seq_len):
            row = self.row(i)
            for n in range(0, len(row), 2):
                pairs.extend((i, j) for j in range(row[n], row[n + 1]))
        return pairs


def empty(seq_len=1):
    # No query sees any key
    return MincutMask(seq_len, (() for _ in range(length(seq_len))), [], [])


def full(seq_len):
    # All that is causal
    return MincutMask(seq_len, ((0, i + 1) for i in range(length(seq_len))), [0], [])


def should_use_sparse(gate, seq_len):
    return seq_len >= 16 and gate.partition_count >= 2 and gate.lambda_ >= 30


def build_mask(gate, seq_len, config=None, labels=None):
    # labels: the partition of each token, as cut.partition gives them; without them the partitions
    # are runs of equal length, or one where there would be more of them than tokens. A boundary
    # token, and the three behind it, attend to all boundary tokens up to them. Where the target
    # density asks for more, the pairs across partitions whose tokens follow most closely upon
    # boundary tokens are added.
    config = config or SparsityConfig()
    length(seq_len)
    if labels is None:
        count = gate.partition_count if 1 <= gate.partition_count <= seq_len else 1
        labels = [min(i // (seq_len // count), count - 1) for i in range(seq_len)]
    labels = list(several("labels", labels))
    if len(labels) != seq_len:
        raise ValueError("labels: expected %d, got %d" % (seq_len, len(labels)))
    for label in labels:
        checks.between("labels", label, 0, 65535)
    target = config.density_q15(gate)
    if not (should_use_sparse(gate, seq_len)
            and config.min_density_q15 <= target <= config.max_density_q15):
        return full(seq_len)
    firsts = [i for i in range(seq_len) if labels[i] not in labels[:i]]
    tokens = [i for i in range(seq_len) if i == 0 or labels[i] != labels[i - 1]]
    tokens = tokens[: config.max_cross_partition_edges]
    distances = []  # of each token from the boundary token before it
    for i in range(seq_len):
        distances.append(0 if i in tokens or not i else distances[i - 1] + 1)
    intra = config.intra_partition_attention
    near = set()  # what attends to boundary tokens
    if config.boundary_cross_attention:
        near.update(token + n for token in tokens for n in range(NEAR))

    def kept(i, j):
        return intra and labels[i] == labels[j] or i in near and j in tokens

    reach = left = 0
    if intra and near:
        quota = (target * (seq_len * (seq_len + 1) // 2) + 16384) >> 15
        quota -= sum(1 for i in range(seq_len) for j in range(i + 1) if kept(i, j))
        reach, left = _reach(labels, distances, kept, quota)
    return MincutMask(seq_len, _rows(labels, distances, kept, reach, left), firsts, tokens)


def from_cut(seq_len, lambda_, partition_count, labels=None):
    # The mask of a cut of this weight with the default configuration
    gate = GatePacket(lambda_, partition_count=partition_count)
    return build_mask(gate, seq_len, None, labels)


def estimated_flops_ratio(mask, seq_len):
    # Pairs that attend, to those of full causal attention
    return mask.num_positions / (seq_len * (seq_len + 1) // 2)


def _reach(labels, distances, kept, quota):
    # -> (d, n): the pairs across whose distances add up to less than d, and n of those with d, are
    # the `quota` to add or all there are
    n = len(labels)
    counts = [0] * (2 * n)
    for i in range(n):
        for j in range(i):
            if labels[i] != labels[j] and not kept(i, j):
                counts[distances[i] + distances[j]] += 1
    d = 0
    quota = max(quota, 0)
    while d < len(counts) - 1 and counts[d] <= quota:
        quota -= counts[d]
        d += 1
    return d, quota


def _rows(labels, distances, kept, reach, left):
    for i in range(len(labels)):
        keys = []
        for j in range(i + 1):
            seen = kept(i, j)
            if not seen and labels[i] != labels[j]:
                d = distances[i] + distances[j]
                seen = d < reach or (d == reach and left > 0)
                if d == reach:
                    left -= 1
            if seen:
                keys.append(j)
        yield boundaries(keys)
