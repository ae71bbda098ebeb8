"""The sparse core: the board and the chips' machine code against the dense core under a mask."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host.bench import density
from attn8_host.quantize import output_constants, score_constants
from attn8_host.reference import Exact, Sparse, masks
from attn8_host.reference.numerics import EXP2
from tests.test_exact import CONSTANTS, normal
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, shapes, sizes
from tools import isa

RUN = """
import gc
from attn8 import Sparse
core = None  # of the call before
gc.collect()
out = array("b", bytes(len(q)))
core = Sparse(seq_len, head_dim, mask=mask, causal=causal, need_weights=need, block_rows=block,
              **constants)
core(q, k, v, out)
give(out)
for name, code, values in core.outputs:
    give(values)
"""


def random_mask(rng, seq_len, density, run):
    """Runs of `run` pairs; some rows without a key."""
    dense = (rng.random((seq_len, seq_len)) < density).repeat(run, axis=1)[:, :seq_len]
    dense[rng.random(seq_len) < 0.1] = False
    return masks.Mask.from_dense(dense)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 40),
    head_dim=st.integers(1, 40),
    density=st.sampled_from([0, 0.1, 0.5, 1]),
    run=st.integers(1, 12),
    causal=st.booleans(),
    need=st.booleans(),
    block=st.integers(1, 9),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_board_equals_the_dense_core_under_the_mask(
    remote, seed, seq_len, head_dim, density, run, causal, need, block, spread
):
    rng = np.random.default_rng(seed)
    (q, k, v), scales = normal(rng, seq_len, head_dim, spread)
    constants = CONSTANTS | dict(
        zip(("score_mult", "score_shift", "score_limit"),
            score_constants(scales[0] * scales[1] / head_dim**0.5, head_dim), strict=True)
    )
    mask = random_mask(rng, seq_len, density, run)
    reference = Sparse(**constants, mask=mask, causal=causal)
    expected = reference(q, k, v)
    hidden = ~mask.dense | np.triu(np.ones_like(mask.dense), 1) * causal
    assert (expected == Exact(**constants)(q, k, v, hidden)).all()
    assert (expected[hidden.all(axis=1)] == 0).all()

    found = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, mask=mask.to_bits().ravel(),
        causal=causal, need=need, block=block, constants=constants,
    )
    if not need:
        assert (found == expected.ravel()).all()
        return
    for values, want in zip(found, [expected, *reference.outputs.values()], strict=True):
        assert (values == want.ravel()).all()


@pytest.mark.parametrize("description", [["full"], ["local_window", 5], ["strided", 1, 7]])
@pytest.mark.parametrize("value", [-128, 127])
def test_board_equals_reference_at_the_longest_sequence(remote, description, value):
    q = np.full((516, 4), value, np.int8)
    v = np.maximum(q, -127)
    expected = Sparse(**CONSTANTS, mask=description)(q, q, v)
    out = remote(
        RUN, q=q, k=q, v=v, seq_len=516, head_dim=4, mask=description, causal=False, need=False,
        block=2, constants=CONSTANTS,
    )
    assert (out == expected.ravel()).all()
    assert (expected == max(value, -127)).all()  # equal values have that value as their mean


@pytest.mark.parametrize("hidden", [0, 1, 20])
def test_where_little_is_hidden_the_dense_core_is_taken(remote, hidden):
    # Both must agree; the last row sees one key, or none. The dense core's blocks overlap here.
    (q, k, v), _ = normal(np.random.default_rng(2), 20, 8)
    dense = np.ones((20, 20), bool)
    dense[19, :hidden] = False
    mask = masks.Mask.from_dense(dense)
    operands = {"q": q, "k": k, "v": v, "seq_len": 20, "head_dim": 8, "causal": False, "block": 9,
                "constants": CONSTANTS, "mask": mask.to_bits().ravel()}
    out, core = remote(RUN + "give(type(core._dense).__name__)", need=False, **operands)
    assert core == "Exact"
    out_sparse, *_, core = remote(RUN + "give(str(core._dense))", need=True, **operands)
    assert core == "None"
    assert (out == out_sparse).all()
    assert (out == Exact(**CONSTANTS)(q, k, v, ~dense).ravel()).all()


@pytest.mark.parametrize("density", [0.3, 0.85])
def test_pairs_too_many_to_be_listed_at_once(remote, density):
    # 2049 pairs or more, of the sparse core or hidden from the dense one
    rng = np.random.default_rng(4)
    (q, k, v), _ = normal(rng, 155, 4)
    mask = random_mask(rng, 155, density, 1)
    out, dense = remote(
        RUN + "give(int(core._dense is not None))", q=q, k=k, v=v, seq_len=155, head_dim=4,
        mask=mask.to_bits().ravel(), causal=False, need=False, block=9, constants=CONSTANTS,
    )
    assert dense == (density > 0.8)
    assert 2048 < mask.num_positions < 155 * 155 - 2048
    assert (out == Exact(**CONSTANTS)(q, k, v, ~mask.dense).ravel()).all()


def test_heads_of_which_one_is_dense_share_no_room(remote):
    (q, k, v), _ = normal(np.random.default_rng(3), 6, 4)
    kinds = remote("""
from attn8 import Sparse
cores = [Sparse(6, 4, mask=["full"], **constants)]
for mask in ("full", "causal"):
    cores.append(Sparse(6, 4, mask=[mask], buffers=cores[0].buffers, **constants))
    out = array("b", bytes(24))
    cores[-1](q, k, v, out)
    give(out)
give([core.buffers is cores[0].buffers for core in cores])
""", q=q, k=k, v=v, constants=CONSTANTS)
    assert (kinds[0] == Exact(**CONSTANTS)(q, k, v).ravel()).all()
    assert (kinds[1] == Exact(**CONSTANTS, causal=True)(q, k, v).ravel()).all()
    assert kinds[2] == [True, True, False]


@pytest.mark.parametrize("description", [["local_window", 2], ["random", 0.5, 1], ["full"]])
def test_nothing_is_allocated(remote, description):
    grown = remote("""
import gc
from attn8 import Sparse
core = Sparse(16, 8, mask=description, **constants)
out = array("b", bytes(128))
def many():
    for _ in range(200):
        core(x, x, x, out)
many()
gc.collect()
gc.disable()
before = gc.mem_alloc()
many()
grown = gc.mem_alloc() - before
gc.enable()
give(grown)
""", x=np.arange(128).astype(np.int8), description=description, constants=CONSTANTS)
    assert grown <= 128


@pytest.mark.parametrize(
    "mask, message",
    [
        (["full", 3], "takes 1 positional arguments"),
        (["nosuch"], "mask: expected one of adaptive"),
        (["local_window", -1], "window: expected 0 to 32768, got -1"),
        (np.zeros(4, np.uint8), "bits: expected 3 int8 values, got 4"),
        (np.full(3, 8, np.uint8), "mask: row 0: expected rising boundaries up to 3, got"),
    ],
)
def test_bad_masks_are_refused(remote, mask, message):
    q = np.zeros(12, np.int8)
    said = remote(
        "try:\n" + "\n".join("    " + line for line in RUN.strip().splitlines())
        + "\nexcept (TypeError, ValueError) as error:\n    give(str(error))",
        q=q, k=q, v=q, seq_len=3, head_dim=4, mask=mask, causal=False, need=False, block=8,
        constants=CONSTANTS,
    )
    assert message in said


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=shapes(12, 24),
    density=st.sampled_from([0, 0.1, 0.5, 1]),
    run=st.integers(1, 5),
    offset=alignment,
    fill=fills,
    scale=st.floats(1e-7, 0.3),
)
@example(seed=0, shape=(2, 130), density=1, run=1, offset=1, fill="extremes", scale=1e-4)
@example(seed=2, shape=(2, 511), density=1, run=1, offset=3, fill="random", scale=1e-4)
@example(seed=1, shape=(24, 29), density=1, run=1, offset=0, fill="random", scale=1e-3)
@pytest.mark.parametrize("form", ["viper", "turbo"])
def test_machine_code(machines, form, seed, shape, density, run, offset, fill, scale):
    seq_len, head_dim = shape
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    constants = score_constants(scale, head_dim)
    num, out_shift = output_constants(float(rng.uniform(0.5, 20)))
    mask = random_mask(rng, seq_len, density, run)
    reference = Sparse(*constants, num, out_shift, mask)
    expected = reference(q, k, v)
    machine = machines("sparse" if form == "viper" else "turbo_sparse")
    out = heads(machine, mask, q, k, v, constants, num, out_shift, reference, offset)
    assert (out == expected).all()


def heads(machine, mask, q, k, v, constants, num, out_shift, reference, offset):
    """One head in two blocks of rows, through each kernel in turn, from spans and from bits."""
    seq_len, head_dim = q.shape
    call = Call(machine, offset)
    row = -(-head_dim // 4) * 8  # what turbo needs most
    values = machine.buffer(np.zeros(seq_len * row + 4, np.uint8))
    keys = machine.buffer(np.zeros((seq_len + 1) * row + 4, np.uint8))
    key_sums = machine.buffer(np.zeros(seq_len, np.int32))
    call("pack_values", v, values, seq_len, head_dim)
    call("pack_keys", k, 0, keys, key_sums, seq_len, head_dim)
    rows_of_spans = [mask.row(i) for i in range(seq_len)]
    spans = machine.buffer(np.array([*chain(*rows_of_spans)], np.uint16))
    offsets = machine.buffer(np.cumsum([0, *(len(row) // 2 for row in rows_of_spans)], dtype="H"))
    bits = machine.buffer(mask.to_bits().ravel(), 4, offset)
    query, table = machine.buffer(q.ravel(), 4, offset), machine.buffer(EXP2.astype(np.uint16))
    out = machine.buffer(np.zeros(q.size, np.int8))
    room = machine.buffer(np.zeros(4 * max(8, head_dim + 6) + 6 * seq_len, np.uint8))
    half = (seq_len + 1) // 2
    at = 0
    for first in range(0, seq_len, half):
        rows = min(half, seq_len - first)
        seen = mask.dense[first : first + rows]
        n = int(seen.sum())
        pairs, again = (machine.buffer(np.zeros(2 * n, np.uint16)) for _ in range(2))
        counts = machine.buffer(np.zeros(rows, np.uint16))
        scores = machine.buffer(np.full(n, 77, np.int32))
        largest, sums = (machine.buffer(np.zeros(rows, np.int32)) for _ in range(2))
        call("list_bits", again, 0, bits, counts, 0, (seq_len + 7) // 8, first, rows)
        call("list_spans", pairs, 0, spans, counts, offsets, 0, first, rows)
        assert (pairs.read(np.uint16) == again.read(np.uint16)).all()
        assert (counts.read(np.uint16) == seen.sum(axis=1)).all()
        call("scores", keys, 0, query, key_sums, pairs, counts, scores, largest, first, rows,
             head_dim)
        call("softmax", scores, 0, pairs, counts, largest, sums, table, rows, *constants)
        call("weighted_sum", values, 0, pairs, counts, sums, room, out, first, rows, head_dim, num,
             out_shift)
        assert (scores.read(np.int32) == reference.scores[at : at + n]).all()
        assert (pairs.read(np.uint16) == reference.pairs[at : at + n].ravel()).all()
        assert (sums.read(np.int32) == reference.sums[first : first + rows]).all()
        for buffer in (pairs, again, counts, scores, largest, sums, out, room, keys, values):
            buffer.check_guards()
        at += n
    return out.read(np.int8).reshape(q.shape)


@pytest.mark.parametrize("module", ["sparse", "turbo_sparse"])
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
def test_machine_code_at_the_longest_sequence(machines, module, fill):
    # 516 keys of equal score: the largest sums there are
    keys, head_dim = 516, 3
    v = np.maximum(int8(np.random.default_rng(1), fill, keys, head_dim), -127)
    pairs = np.column_stack([np.arange(keys), np.full(keys, 32768)]).astype(np.uint16)
    machine = machines(module)
    call = Call(machine)
    values, room = (machine.buffer(np.zeros(n * keys + 36, np.uint8)) for n in (8, 6))
    call("pack_values", v, values, keys, head_dim)
    *_, out, _, _, _, _, _ = call(
        "weighted_sum", values, 0, pairs, np.array([keys], np.uint16),
        np.array([keys << 15], np.int32), room, np.zeros(head_dim, np.int8), 0, 1, head_dim,
        1 << 29, 29,
    )  # fmt: skip
    assert (out.read(np.int8) == np.floor(v.astype(int).sum(axis=0) / keys + 0.5)).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), keys=sizes)
def test_hide(machines, seed, rows, keys):
    rng = np.random.default_rng(seed)
    hidden = rng.random((rows, keys)) < 0.3
    scores = rng.integers(-1000, 1000, (rows, keys)).astype(np.int32)
    pairs = np.repeat(np.nonzero(hidden)[1], 2).astype(np.uint16)
    call = Call(machines("sparse"))
    found, *_ = call("hide", scores, pairs, hidden.sum(axis=1).astype(np.uint16), rows, keys)
    assert (found.read(np.int32) == np.where(hidden, -(1 << 30), scores).ravel()).all()


# Of the dense core's instructions with the same backend, at a density of 10 %. The target, 0.14, is
# not met where MAC16 makes the dense kernels fast, nor where they are specialised by size.
AT_A_TENTH = {
    "xtensawin": {"turbo": 0.17, "viper": 0.25, "generic": 0.14},
    "rv32imc": {"turbo": 0.14, "viper": 0.28, "generic": 0.14},
}


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_instructions_follow_the_attended_pairs(arch, monkeypatch):
    # Random masks are the hardest
    monkeypatch.setattr(density, "LEVELS", (0.105, 1.0))
    monkeypatch.setattr(density, "MASKS", {"random": density.MASKS["random"]})
    for backend, found in density.measure(arch)["backends"].items():
        tenth, full = found["points"]
        assert 0.1 <= tenth["density"] < 0.102
        assert tenth["ratio"] <= AT_A_TENTH[arch][backend], backend
        assert full["density"] == 1 and full["ratio"] == 1


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("seq_len, head_dim", [(64, 4), (24, 12), (64, 16)])
def test_no_mask_makes_the_sparse_core_slower_than_the_dense_one(
    arch, seq_len, head_dim, monkeypatch
):
    # On both sides of the densities from which the dense core is taken. With kernels specialised
    # for so few dimensions as 4 hiding pairs takes up to 0.2 of the little that is left.
    monkeypatch.setattr(density, "SEQ_LEN", seq_len)
    monkeypatch.setattr(density, "HEAD_DIM", head_dim)
    monkeypatch.setattr(density, "LEVELS", (0.24, 0.34, 0.5, 0.68, 0.79, 0.83, 0.93, 1.0))
    monkeypatch.setattr(density, "MASKS", {"random": density.MASKS["random"]})
    for backend, found in density.measure(arch)["backends"].items():
        most = 1.2 if (backend, head_dim) == ("viper", 4) else 1.1
        ratios = [point["ratio"] for point in found["points"]]
        assert max(ratios) <= most and ratios[-1] == 1, (backend, ratios)
