"""The sparse core: the board and the chips' machine code against the dense core under a mask."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import masks
from attn8_host.cores.exact import Exact
from attn8_host.cores.sparse import Sparse
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.scales import output_constants, score_constants
from attn8_host.proof.bench import density
from tests.conftest import TURBO
from tests.test_exact import CONSTANTS, normal
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, shapes, sizes

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
    out, core = remote(RUN + "give(type(core).__name__)", need=False, **operands)
    assert core == "Exact"
    out_sparse, *_, core = remote(RUN + "give(type(core).__name__)", need=True, **operands)
    assert core == "Listed"
    assert (out == out_sparse).all()
    assert (out == Exact(**CONSTANTS)(q, k, v, ~dense).ravel()).all()


@pytest.mark.parametrize("seq_len, density", [(155, 0.3), (220, 0.955)])
def test_pairs_too_many_to_be_listed_at_once(remote, seq_len, density):
    # 2049 pairs or more, of the sparse core or hidden from the dense one
    rng = np.random.default_rng(4)
    (q, k, v), _ = normal(rng, seq_len, 4)
    mask = masks.Mask.from_dense(rng.random((seq_len, seq_len)) < density)
    out, core = remote(
        RUN + "give(type(core).__name__)", q=q, k=k, v=v, seq_len=seq_len, head_dim=4,
        mask=mask.to_bits().ravel(), causal=False, need=False, block=9, constants=CONSTANTS,
    )
    assert core == ("Exact" if density > 0.9 else "Listed")
    assert 2048 < mask.num_positions < seq_len * seq_len - 2048
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
    assert remote.needs_no_heap("core(x, x, x, out)", """
from attn8 import Sparse
core = Sparse(16, 8, mask=description, **constants)
out = array("b", bytes(128))
""", x=np.arange(128).astype(np.int8), description=description, constants=CONSTANTS)


@pytest.mark.parametrize(
    "mask, message",
    [
        (["full", 3], "mask: full does not take [3]"),
        (["nosuch"], "mask: expected one of adaptive"),
        (["local_window", -1], "window: expected 0 to 32768, got -1"),
        (np.zeros(4, np.uint8), "bits: expected 3 int8 values, got 4"),
        (np.full(3, 8, np.uint8), "mask: row 0: expected rising boundaries up to 3, got"),
    ],
)
def test_bad_masks_are_refused(remote, mask, message):
    q = np.zeros(12, np.int8)
    said = remote.refused(
        RUN, q=q, k=q, v=q, seq_len=3, head_dim=4, mask=mask, causal=False, need=False, block=8,
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
    scale=st.floats(1e-5, 0.3),
)
@example(seed=0, shape=(2, 130), density=1, run=1, offset=1, fill="extremes", scale=1e-4)
@example(seed=2, shape=(2, 256), density=1, run=1, offset=3, fill="random", scale=1e-4)
@example(seed=1, shape=(24, 29), density=1, run=1, offset=0, fill="random", scale=1e-3)
@example(seed=1, shape=(3, 256), density=1, run=1, offset=0, fill="opposite", scale=1e-5)
@pytest.mark.parametrize("form", ["in steps", "at once"])
def test_machine_code(machines, on_device, form, seed, shape, density, run, offset, fill, scale):
    seq_len, head_dim = shape
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    constants = score_constants(scale, head_dim)
    num, out_shift = output_constants(float(rng.uniform(0.5, 20)))
    mask = random_mask(rng, seq_len, density, run)
    reference = Sparse(*constants, num, out_shift, mask)
    expected = reference(q, k, v)
    attend = FORMS[form](machines, on_device)
    out = heads(attend, mask, q, k, v, constants, num, out_shift, reference, offset)
    assert (out == expected).all()


def heads(attend, mask, q, k, v, constants, num, out_shift, reference, offset, table=EXP2):
    """One head in two blocks of rows, from spans and from bits."""
    seq_len = len(q)
    machine = attend.machine
    call = Call(machine, offset)
    rows_of_spans = [mask.row(i) for i in range(seq_len)]
    spans = machine.buffer(np.array([*chain(*rows_of_spans)], np.uint16))
    offsets = machine.buffer(np.cumsum([0, *(len(row) // 2 for row in rows_of_spans)], dtype="H"))
    bits = machine.buffer(mask.to_bits().ravel(), 4, offset)
    query, table = machine.buffer(q.ravel(), 4, offset), machine.buffer(table.astype(np.uint16))
    out = machine.buffer(np.zeros(q.size, np.int8), 4, offset)
    attend.pack(call, k, v)
    half = (seq_len + 1) // 2
    at = 0
    for first in range(0, seq_len, half):
        rows = min(half, seq_len - first)
        seen = mask.dense[first : first + rows]
        n = int(seen.sum())
        pairs, again = (machine.buffer(np.zeros(2 * n, np.uint16)) for _ in range(2))
        counts = machine.buffer(np.zeros(rows, np.uint16))
        call("list_bits", again, 0, bits, counts, 0, (seq_len + 7) // 8, first, rows)
        call("list_spans", pairs, 0, spans, counts, offsets, 0, first, rows)
        assert (pairs.read(np.uint16) == again.read(np.uint16)).all()
        assert (counts.read(np.uint16) == seen.sum(axis=1)).all()
        attend(call, query, pairs, counts, table, out, first, rows, n, constants, num, out_shift)
        attend.check(pairs, reference, slice(at, at + n), slice(first, first + rows))
        for buffer in (pairs, again, counts, out, *attend.buffers):
            buffer.check_guards()
        at += n
    return out.read(np.int8).reshape(q.shape)


class InSteps:
    """Viper kernels, one after the other; what they leave is compared as well. Keys are packed by
    those of dense attention.
    """

    def __init__(self, machines, on_device):
        self.machine = machines("sparse")
        self.packing = machines("attention")

    def pack(self, call, k, v):
        seq_len, self.head_dim = k.shape
        zeros = np.zeros(k.size, np.uint8)
        _, keys, key_sums, *_ = Call(self.packing, call.offset)(
            "pack_keys", k, zeros, np.zeros(seq_len, np.int32), seq_len, self.head_dim
        )
        self.keys, self.values = (self.machine.buffer(x) for x in (keys.read(), zeros))
        self.key_sums = self.machine.buffer(key_sums.read())
        call("pack_values", v, self.values, seq_len, self.head_dim)

    def __call__(self, call, q, pairs, counts, table, out, first, rows, n, constants, *output):
        self.scores = self.machine.buffer(np.full(n, 77, np.int32))
        largest, self.sums = (self.machine.buffer(np.zeros(rows, np.int32)) for _ in range(2))
        room = self.machine.buffer(np.zeros(8, np.int32))
        self.buffers = [
            self.keys, self.values, self.key_sums, self.scores, largest, self.sums, room
        ]
        call("scores", self.keys, 0, q, self.key_sums, pairs, counts, self.scores, largest, first,
             rows, self.head_dim)  # fmt: skip
        call("softmax", self.scores, 0, pairs, counts, largest, self.sums, table, rows, *constants)
        call("weighted_sum", self.values, 0, pairs, counts, self.sums, room, out, first, rows,
             self.head_dim, *output)  # fmt: skip

    def check(self, pairs, reference, at, rows):
        assert (self.scores.read(np.int32) == reference.scores[at]).all()
        assert (pairs.read(np.uint16) == reference.pairs[at].ravel()).all()
        assert (self.sums.read(np.int32) == reference.sums[rows]).all()


class AtOnce:
    """Kernels that leave results only; room(seq_len, head_dim) gives the bytes that they need."""

    def __init__(self, machine, room):
        self.machine = machine
        self.room = room

    def pack(self, call, k, v):
        self.shape = k.shape
        self.buffers = [
            self.machine.buffer(np.full(size, 77, np.uint8)) for size in self.room(*k.shape)
        ]
        call("_pack", k, 0, v, self.buffers[0], *k.shape)

    def __call__(self, call, q, pairs, counts, table, out, first, rows, n, constants, *output):
        packed, room = self.buffers
        call("_attend_rows", packed, 0, q, pairs, counts, room, table, out, first, rows,
             *self.shape, *constants, *output)  # fmt: skip

    def check(self, pairs, reference, at, rows):
        assert (pairs.read(np.uint16)[::2] == reference.pairs[at, 0]).all()


def at_once(machines, on_device):
    machine = machines("turbo.sparse")
    return AtOnce(machine, on_device(f"attn8.forms.{TURBO[machine.arch]}.sparse").room)


FORMS = {"in steps": InSteps, "at once": at_once}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
def test_machine_code_at_the_longest_sequence(machines, on_device, form, fill):
    run_longest_sequence(FORMS[form](machines, on_device), fill)


def run_longest_sequence(attend, fill, table=EXP2):
    """516 keys of equal score: the largest sums there are."""
    keys, head_dim = 516, 3
    machine = attend.machine
    k = np.zeros((keys, head_dim), np.int8)
    v = np.maximum(int8(np.random.default_rng(1), fill, keys, head_dim), -127)
    pairs = machine.buffer(np.repeat(np.arange(keys), 2).astype(np.uint16))
    counts = machine.buffer(np.array([keys], np.uint16))
    q, table = machine.buffer(k[0]), machine.buffer(table.astype(np.uint16))
    out = machine.buffer(np.zeros(head_dim, np.int8))
    call = Call(machine)
    attend.pack(call, k, v)
    attend(call, q, pairs, counts, table, out, 0, 1, keys, score_constants(1e-3, 3), 1 << 29, 29)
    assert (out.read(np.int8) == np.floor(v.astype(int).sum(axis=0) / keys + 0.5)).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), keys=sizes)
def test_hide(machines, seed, rows, keys):
    rng = np.random.default_rng(seed)
    hidden = rng.random((rows, keys)) < 0.3
    scores = rng.integers(-1000, 1000, (rows, keys)).astype(np.int32)
    pairs = np.repeat(np.nonzero(hidden)[1], 2).astype(np.uint16)
    call = Call(machines("hide"))
    found, *_ = call("hide", scores, pairs, hidden.sum(axis=1).astype(np.uint16), rows, keys)
    assert (found.read(np.int32) == np.where(hidden, -(1 << 30), scores).ravel()).all()


# Of the dense core's instructions with the same backend, at a density of 10 %, where three in ten
# weights are zero and where none is
AT_A_TENTH = {
    ("xtensawin", 0.03): {"turbo": 0.157, "viper": 0.14},
    ("xtensawin", 0.005): {"turbo": 0.176, "viper": 0.14},
    ("rv32imc", 0.03): {"turbo": 0.145, "viper": 0.14},
    ("rv32imc", 0.005): {"turbo": 0.157, "viper": 0.14},
}


@pytest.mark.parametrize("arch, scale", AT_A_TENTH)
def test_instructions_follow_the_attended_pairs(arch, scale, monkeypatch):
    # Random masks are the hardest
    monkeypatch.setattr(density, "SCALE", scale)
    monkeypatch.setattr(density, "LEVELS", (0.105, 1.0))
    monkeypatch.setattr(density, "MASKS", {"random": density.MASKS["random"]})
    for backend, found in density.measure(arch)["backends"].items():
        tenth, full = found["points"]
        assert 0.1 <= tenth["density"] < 0.102
        assert tenth["ratio"] <= AT_A_TENTH[arch, scale][backend], backend
        assert full["density"] == 1 and full["ratio"] == 1


# Of the dense core's instructions with the same backend, at any density. On Xtensa a head without a
# mask is one call, which costs least where dimensions are few
AT_MOST = {
    ("xtensawin", 64, 4): 1.18, ("xtensawin", 24, 12): 1.06, ("xtensawin", 64, 16): 1.09,
    ("rv32imc", 64, 4): 1.06, ("rv32imc", 24, 12): 1.05, ("rv32imc", 64, 16): 1.05,
}


@pytest.mark.parametrize("arch, seq_len, head_dim", AT_MOST)
def test_no_mask_makes_the_sparse_core_slower_than_the_dense_one(
    arch, seq_len, head_dim, monkeypatch
):
    # On both sides of the densities from which the dense core is taken
    monkeypatch.setattr(density, "SEQ_LEN", seq_len)
    monkeypatch.setattr(density, "HEAD_DIM", head_dim)
    monkeypatch.setattr(density, "LEVELS", (0.34, 0.5, 0.68, 0.76, 0.83, 0.91, 0.96, 1.0))
    monkeypatch.setattr(density, "MASKS", {"random": density.MASKS["random"]})
    for backend, found in density.measure(arch)["backends"].items():
        ratios = [point["ratio"] for point in found["points"]]
        most = AT_MOST[arch, seq_len, head_dim] if backend == "turbo" else 1.1
        assert max(ratios) <= most and ratios[-1] == 1, (backend, ratios)
