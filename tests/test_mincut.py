"""Mincut masks: the published checks, the board against the reference, cuts against networkx."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.masks import cut, mincut
from attn8_host.masks.mincut import Adaptive, GatePacket, Linear, SparsityConfig, Threshold


def test_full_is_causal():
    # The published check
    mask = mincut.full(4)
    assert mask.num_positions == 10 and mask.density == 1
    assert mask.visualize() == "█···\n██··\n███·\n████\n"


def test_lambda_100_with_3_partitions():
    # The published check
    gate = GatePacket(lambda_=100, boundary_edges=5, partition_count=3)
    mask = mincut.build_mask(gate, 32)
    assert len(mask.partition_boundaries) == 3
    assert mask.num_positions == 200 and mask.density == 200 / 528
    assert mask.positions == published(gate, 32, SparsityConfig())
    assert mask.boundary_tokens == [0, 10, 20]
    assert mincut.estimated_flops_ratio(mask, 32) == 200 / 528


def test_empty():
    # The published check
    mask = mincut.empty()
    assert mask.num_positions == 0 and mask.density == 0 and mask.positions == []
    assert mask.partition_boundaries == mask.boundary_tokens == []
    assert mincut.empty(5).visualize() == 5 * "·····\n"


def published(gate, seq_len, config):
    """The positions of the published text, line by line."""
    if not (seq_len >= 16 and gate.partition_count >= 2 and gate.lambda_ >= 30):
        return [(i, j) for i in range(seq_len) for j in range(i + 1)]
    size = seq_len // gate.partition_count
    boundaries = [i * size for i in range(gate.partition_count)]
    boundary_tokens = boundaries[: config.max_cross_partition_edges]
    positions = set()
    if config.intra_partition_attention:
        for index, start in enumerate(boundaries):
            end = boundaries[index + 1] if index + 1 < len(boundaries) else seq_len
            positions.update((i, j) for i in range(start, end) for j in range(start, i + 1))
    if config.boundary_cross_attention:
        for boundary_token in boundary_tokens:
            for before in boundary_tokens:
                if before <= boundary_token:
                    positions.add((boundary_token, before))
            for offset in range(4):
                token = boundary_token + offset
                if token < seq_len:
                    positions.update((token, b) for b in boundary_tokens if b <= token)
    return sorted(positions)


def test_each_switch_gives_the_published_positions():
    rng = np.random.default_rng(4)
    added = 0
    for n in range(10_000):
        gate = GatePacket(int(rng.integers(0, 400)), 0, 0, int(rng.integers(0, 32768)),
                          int(rng.integers(0, 12)) * (1 if n % 7 else 5))
        seq_len = int(rng.integers(1, 40))
        config = SparsityConfig(n % 4 < 2, n % 2 == 0,
                                max_cross_partition_edges=int(rng.integers(0, 12)))
        positions = mincut.build_mask(gate, seq_len, config).positions
        wanted = published(gate, seq_len, config)
        room = round(config.density_q15(gate) / 32768 * (seq_len * (seq_len + 1) / 2))
        if n % 4 == 0 and config.max_cross_partition_edges and len(wanted) < room:
            added += 1
            assert set(positions) > set(wanted)
            assert len(positions) == room
        else:
            assert positions == wanted
    assert added > 100


def test_threshold_150():
    # The published check
    config = SparsityConfig(lambda_based_density=Threshold(150))
    assert config.density_q15(GatePacket(lambda_=100)) / 32768 < 0.2
    assert config.density_q15(GatePacket(lambda_=200)) / 32768 > 0.8


def test_defaults():
    config = SparsityConfig()
    assert config.intra_partition_attention and config.boundary_cross_attention
    assert config.max_cross_partition_edges == 20
    assert (config.min_density_q15, config.max_density_q15) == (3277, 29491)
    assert isinstance(config.lambda_based_density, Adaptive)


@settings(max_examples=200)
@given(
    lambda_=st.integers(0, 400), concentration=st.integers(0, 32767), parts=st.integers(0, 9),
    low=st.integers(0, 32767), high=st.integers(0, 32767),
)
def test_schedules_are_the_published_formulas(lambda_, concentration, parts, low, high):
    gate = GatePacket(lambda_, 0, 0, concentration, parts)
    share = np.clip((min(lambda_, 300) - 30) / 270, 0, 1)
    linear = Linear(low, high).density_q15(gate)
    assert linear == pytest.approx(low + share * (high - low), abs=0.51)
    wanted = (
        np.clip(lambda_ / 150, 0, 1) * 0.6 + 0.1 + concentration / 32768 * 0.2
        + max(-0.05 * parts, -0.2)
    )
    adaptive = Adaptive().density_q15(gate) / 32768
    assert adaptive == pytest.approx(np.clip(wanted, 0.1, 0.9), abs=2e-5)
    assert SparsityConfig(lambda_based_density=None).density_q15(gate) == 16384


@pytest.mark.parametrize("seq_len, parts, lambda_", [(15, 3, 100), (32, 1, 100), (32, 3, 29)])
def test_without_structure_it_is_full(seq_len, parts, lambda_):
    gate = GatePacket(lambda_, partition_count=parts)
    assert not mincut.should_use_sparse(gate, seq_len)
    assert mincut.build_mask(gate, seq_len).density == 1
    assert mincut.should_use_sparse(GatePacket(30, partition_count=2), 16)


def test_a_target_beyond_the_limits_is_full():
    gate = GatePacket(100, partition_count=3)
    for limits in ({"min_density_q15": 20000}, {"max_density_q15": 5000}):
        assert mincut.build_mask(gate, 32, SparsityConfig(**limits)).density == 1


def test_the_target_density_is_met_across_partitions():
    # What the original computed and ignored
    for lambda_ in range(110, 310, 20):
        gate = GatePacket(lambda_, partition_count=4)
        target = SparsityConfig().density_q15(gate) / 32768
        mask = mincut.build_mask(gate, 64)
        least = len(published(gate, 64, SparsityConfig())) / mask.max_positions
        assert mask.density == pytest.approx(max(target, least), abs=0.5 / mask.max_positions)


ON_BOARD = """
from attn8.masks import cut, mincut
gate = mincut.GatePacket(*packet)
config = mincut.SparsityConfig(*switches[:2], eval("mincut." + schedule), *switches[2:])
mask = mincut.build_mask(gate, seq_len, config, labels)
give((config.density_q15(gate), mincut.should_use_sparse(gate, seq_len) + 0, mask.num_positions,
      mask.max_positions, mask.partition_boundaries, mask.boundary_tokens))
give(mask.positions)
give(array("B", mask.to_bits()))
"""

schedules = st.sampled_from(["Adaptive()", "Threshold(90)", "Linear(4000, 28000)"])


@settings(max_examples=60, deadline=None)
@given(
    packet=st.tuples(
        st.integers(0, 400), st.just(0), st.just(0), st.integers(0, 32767), st.integers(0, 6),
        st.just(0),
    ),
    switches=st.tuples(
        st.booleans(), st.booleans(), st.integers(0, 30), st.integers(0, 9000),
        st.integers(20000, 32767),
    ),
    schedule=schedules,
    seq_len=st.integers(1, 48),
    seed=st.integers(0, 2**32 - 1),
    labelled=st.booleans(),
)
def test_board_equals_reference(remote, packet, switches, schedule, seq_len, seed, labelled):
    rng = np.random.default_rng(seed)
    labels = None
    if labelled:  # runs of some partitions, which come back
        labels = rng.integers(0, 4, seq_len).repeat(rng.integers(1, 9))[:seq_len].tolist()
    gate = GatePacket(*packet)
    config = SparsityConfig(*switches[:2], eval("mincut." + schedule), *switches[2:])
    mask = mincut.build_mask(gate, seq_len, config, labels)
    facts, positions, bits = remote(
        ON_BOARD, packet=packet, switches=switches, schedule=schedule, seq_len=seq_len,
        labels=labels,
    )
    assert facts == (
        config.density_q15(gate), mincut.should_use_sparse(gate, seq_len), mask.num_positions,
        mask.max_positions, mask.partition_boundaries, mask.boundary_tokens,
    )
    assert positions == mask.positions
    assert (bits == mask.to_bits().ravel()).all()


def graph(rng, nodes, clusters):
    """Similarities with clusters, some of them 0: not every pair is an edge."""
    weights = rng.integers(0, 40, (nodes, nodes)) * (rng.random((nodes, nodes)) < 0.6)
    of = rng.integers(0, clusters, nodes)
    weights += (of[:, None] == of[None, :]) * rng.integers(0, 200, (nodes, nodes))
    weights = np.triu(weights, 1)
    return (weights + weights.T).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(2, 24), clusters=st.integers(1, 4))
def test_cuts_on_the_board(remote, seed, nodes, clusters):
    rng = np.random.default_rng(seed)
    weights = graph(rng, nodes, clusters)
    parts = int(rng.integers(1, nodes + 1))
    value, side, labels = remote(
        "from attn8.masks import cut\nvalue, side = cut.minimum_cut(w)\ngive(value)\ngive(side)\n"
        "give(cut.partition(w, parts))",
        w=weights.ravel(), parts=parts,
    )
    assert (value, side) == cut.minimum_cut(weights)
    assert labels == cut.partition(weights, parts)
    assert len(set(labels)) == parts
    outside = np.setdiff1d(np.arange(nodes), side)
    assert 0 < len(side) < nodes
    assert weights[np.ix_(side, outside)].sum() == value


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(2, 16), clusters=st.integers(1, 4))
def test_the_cut_is_minimal(seed, nodes, clusters):
    networkx = pytest.importorskip("networkx")
    weights = graph(np.random.default_rng(seed), nodes, clusters)
    # networkx wants a connected graph; edges of weight 0 connect it
    whole = networkx.complete_graph(nodes)
    networkx.set_edge_attributes(whole, {(a, b): int(weights[a, b]) for a, b in whole.edges},
                                 "weight")
    assert cut.minimum_cut(weights)[0] == networkx.stoer_wagner(whole)[0]


def test_sixty_four_tokens_on_the_board(remote):
    weights = graph(np.random.default_rng(5), 64, 3)
    labels = remote(
        "from attn8.masks import cut\ngive(cut.partition(w, 3))", w=weights.ravel()
    )
    assert labels == cut.partition(weights, 3)


@pytest.mark.parametrize(
    "code, message",
    [
        ("mincut.GatePacket(-1)", "lambda: expected 0 to 1073741823, got -1"),
        ("mincut.GatePacket(0, 0, 0, 32768)", "boundary_concentration_q15: expected 0 to 32767"),
        ("mincut.Linear(-1, 0)", "min_density_q15: expected 0 to 32767, got -1"),
        ("mincut.SparsityConfig(max_cross_partition_edges=-1)", "max_cross_partition_edges: exp"),
        ("mincut.build_mask(mincut.GatePacket(), 3, labels=[0])", "labels: expected 3, got 1"),
        ("cut.partition(w, 2)", "weights: expected a symmetric matrix"),
        ("cut.partition(w[:1], 2)", "parts: expected 1 to 1, got 2"),
    ],
)
def test_bad_input_is_refused_on_board_and_host_alike(remote, code, message):
    w = np.array([0, 1, 2, 0], np.int32)
    square = code.replace("w[:1]", "w[:1, :1]")
    with pytest.raises(ValueError) as caught:
        eval(square, {"mincut": mincut, "cut": cut, "w": w.reshape(2, 2)})
    said = remote.refused(code, "from attn8.masks import cut, mincut", w=w)
    assert said.startswith(message) and str(caught.value).startswith(message)
