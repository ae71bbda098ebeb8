"""Linear attention: the kernels and the board against the reference, and that against floats."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host.cores import linear
from attn8_host.cores.linear import Linear, linear_constants
from attn8_host.numerics.scales import quantize
from tests.test_exact import KINDS, structured
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, sizes

RUN = """
from attn8 import Linear
out = array("b", bytes(len(q)))
core = Linear(seq_len, head_dim, causal=causal, need_weights=need, block_rows=block, **constants)
core(q, k, v, out)
give(out)
for name, code, values in core.outputs:
    give(values)
"""

FORMS = [("relu", True), ("relu", False), ("relu+1", True), ("relu+1", False), ("elu+1", True),
         ("elu+1", False)]
forms = st.sampled_from(FORMS)
MODULES = ["linear", "turbo.linear"]


def constants(head_dim, phi, normalize, scales=(0.02, 0.03, 0.02, 0.01)):
    """Keywords of the core. Without normalization the output needs a range to match."""
    if not normalize:
        scales = (*scales[:3], scales[3] * head_dim * 50)
    return linear_constants(head_dim, *scales, phi, normalize) | {
        "phi": phi, "normalize": normalize
    }


def of_all_sizes(test):
    """A test that takes these arguments, of some cases and of many random ones."""
    for case in (
        {"seed": 0, "size": (2, 65), "form": ("elu+1", True), "offset": 1, "fill": "extremes"},
        {"seed": 1, "size": (3, 29), "form": ("relu", False), "offset": 0, "fill": "random"},
        {"seed": 2, "size": (2, 511), "form": ("relu+1", True), "offset": 3, "fill": "extremes"},
    ):
        test = example(**case)(test)
    size = st.tuples(sizes, st.integers(1, 16)) | st.tuples(st.integers(1, 8), sizes)
    seeds = st.integers(0, 2**32 - 1)
    return machine_settings(
        given(seed=seeds, size=size, form=forms, offset=alignment, fill=fills)(test))


@pytest.mark.parametrize("module", MODULES)
@of_all_sizes
def test_machine_code(machines, module, seed, size, form, offset, fill):
    rng = np.random.default_rng(seed)
    run_kernels(machines(module), rng, *size, form, offset, fill)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
@pytest.mark.parametrize("head_dim", [1, 4])
def test_machine_code_at_the_largest_sums(machines, module, fill, head_dim):
    run_largest_sums(machines(module), fill, head_dim)


def run_largest_sums(machine, fill, head_dim):
    # 255*4095*2056: next to int32's limit, offsets of the values included
    rng = np.random.default_rng(0)
    full = {"table_q": [4095] * 256, "table_k": [4095] * 256}
    run_kernels(machine, rng, 2056, head_dim, ("elu+1", True), 0, fill, full, 2)


def run_kernels(
    machine, rng, seq_len, head_dim, form, offset, fill, change=None, last_rows=None
):
    """The steps of a bidirectional call; compares all rows, or the last ones only."""
    reference = Linear(**constants(head_dim, *form) | (change or {}))
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    expected = reference(q, k, v)
    table_q = reference._table(reference.table_q)
    table_k = reference._table(reference.table_k)
    limit = (2**31 - 1) // (max(1, table_q.max()) * head_dim)
    static = reference.static_shift(seq_len, head_dim)

    call = Call(machine, offset)
    kv, _, _, _, _, _, z, *_ = call(
        "accumulate", np.zeros(head_dim**2, np.int32), 0, np.zeros(head_dim, np.uint16), k, v,
        table_k.astype(np.uint16), np.zeros(head_dim, np.int32), 0, seq_len, head_dim,
    )
    out = call.place(np.zeros(head_dim**2, np.int32))
    p = machine.call("shrink", kv, 0, z, out, head_dim, head_dim, int(limit))
    out.check_guards()
    assert (out.read(np.int32) == reference.outputs["kv"].ravel()).all()
    assert (z.read(np.int32) == reference.outputs["z"]).all()
    p -= static
    if reference.normalize and table_k.max() * seq_len > limit:
        vector = Call(machine, offset)
        sums, nothing, rounded = (
            vector.place(x) for x in (z.read(np.int32), *np.zeros((2, head_dim), np.int32))
        )
        p -= vector.machine.call("shrink", sums, 0, nothing, rounded, 1, head_dim, int(limit))
        rounded.check_guards()
        z = call.place(rounded.read(np.int32))
    first = seq_len - last_rows if last_rows else 0
    rows = seq_len - first
    _, _, phi, *_ = call(
        "features", q, table_q.astype(np.uint16), np.zeros(rows * head_dim, np.uint16), first, rows,
        head_dim,
    )
    sums = call.place(np.zeros(seq_len, np.int32))
    result = call.place(np.zeros(seq_len * head_dim, np.int8))
    call("attend", out, 0, phi, z, sums, result, first, rows, head_dim, head_dim, p,
         reference.denominator, reference.out_num, reference.out_shift - static)
    assert (sums.read(np.int32)[first:] == reference.outputs["sums"][first:]).all()
    assert (result.read(np.int8).reshape(expected.shape)[first:] == expected[first:]).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 40),
    head_dim=st.integers(1, 30),
    form=forms,
    causal=st.booleans(),
    need=st.booleans(),
    block=st.integers(1, 9),
    fill=fills,
)
def test_board_equals_reference(remote, seed, seq_len, head_dim, form, causal, need, block, fill):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    keywords = constants(head_dim, *form)
    reference = Linear(**keywords, causal=causal)
    expected = reference(q, k, v)
    given_ = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, causal=causal, need=need,
        block=block, constants=keywords,
    )
    out, *kept = given_ if need else [given_]
    assert (out == expected.ravel()).all()
    for name, got in zip(("kv", "z", "sums"), kept, strict=False):
        assert (got == reference.outputs[name].ravel()).all(), name


def test_steps_equal_the_causal_result_and_can_start_again(remote):
    rng = np.random.default_rng(5)
    q, k, v = rng.integers(-127, 128, (3, 9, 6)).astype(np.int8)
    keywords = constants(6, "elu+1", True)
    expected = Linear(**keywords, causal=True)(q, k, v)
    first, second, said = remote("""
from attn8 import Linear
core = Linear(9, 6, **constants)
def run():
    rows = array("b", bytes(54))
    for t in range(9):
        a, b = 6 * t, 6 * t + 6
        core.step(q[a:b], k[a:b], v[a:b], memoryview(rows)[a:b])
    return rows
give(run())
core.reset()
give(run())
try:
    core.step(q[:6], k[:6], v[:6], array("b", bytes(6)))
except ValueError as error:
    give(str(error))
""", q=q, k=k, v=v, constants=keywords)
    assert (first == expected.ravel()).all()
    assert (second == expected.ravel()).all()
    assert said == "tokens: expected 1 to 9, got 10"


def test_a_causal_row_is_the_result_of_its_prefix():
    rng = np.random.default_rng(6)
    q, k, v = rng.integers(-127, 128, (3, 20, 8)).astype(np.int8)
    keywords = constants(8, "relu+1", True)
    rows = Linear(**keywords, causal=True)(q, k, v)
    for t in range(20):
        assert (rows[t] == Linear(**keywords)(q[: t + 1], k[: t + 1], v[: t + 1])[t]).all()


def test_a_call_allocates_nothing(remote):
    assert remote.needs_no_heap("core(q, q, q, out)\ncausal(q, q, q, out)", """
from attn8 import Linear
q = array("b", bytes(96))
out = array("b", bytes(96))
core, causal = [Linear(12, 8, causal=causal, **constants) for causal in (False, True)]
""", constants=constants(8, "relu+1", True))


LIMITS = {"relu": 0.51, "relu+1": 0.51, "elu+1": 0.55}  # the target of the last is 0.9


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_reference_is_close_to_float(form, causal):
    # Targets of the specification, over its kinds of scores; cosine >= 0.999
    phi, normalize = form
    rng = np.random.default_rng(7)
    for kind in KINDS:
        for seq_len, head_dim in ((8, 16), (33, 64), (128, 16), (512, 64))[: 3 if causal else 4]:
            q, k, v = structured(kind, rng, seq_len, head_dim)
            v = v + rng.normal(size=(1, head_dim)) / 2  # channels with means of their own
            scales = [float(np.abs(x).max()) / 127 for x in (q, k, v)]
            q, k, v = (quantize(x, s) for x, s in zip((q, k, v), scales, strict=True))
            exact = linear.floating(
                *(x * s for x, s in zip((q, k, v), scales, strict=True)), causal, scales, phi,
                normalize,
            )
            scale = float(np.abs(exact).max()) / 127
            keywords = linear_constants(head_dim, *scales, scale, phi, normalize)
            out = Linear(**keywords, phi=phi, normalize=normalize, causal=causal)(q, k, v)
            error = float(np.abs(out - exact / scale).max())
            assert error <= LIMITS[phi], (kind, seq_len, head_dim)
            cosine = (out * exact).sum() / np.linalg.norm(out) / np.linalg.norm(exact)
            assert cosine >= 0.999, (kind, seq_len, head_dim)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reach", [2, 4, 8])
def test_extremes_stay_close_to_float(reach, causal):
    # Features from e**-reach to 1 + reach: where signs differ, the smallest ones decide
    rng = np.random.default_rng(8)
    scale = reach / 127
    for seq_len, head_dim in ((8, 16), (33, 3), (16, 8)):
        q, k, v = rng.choice(np.array([-127, 127], np.int8), (3, seq_len, head_dim))
        exact = linear.floating(q * scale, k * scale, v, causal, (scale, scale), "elu+1")
        peak = float(np.abs(exact).max()) / 127
        keywords = linear_constants(head_dim, scale, scale, 1, peak, "elu+1")
        out = Linear(**keywords, phi="elu+1", causal=causal)(q, k, v)
        assert np.abs(out - exact / peak).max() <= 1, (seq_len, head_dim)


CONSTANTS = constants(4, "elu+1", True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seq_len": 0}, "seq_len: expected 1 to"),
        ({"seq_len": 32769}, "seq_len: expected 1 to 32768, got 32769"),
        ({"head_dim": 1025}, "head_dim: expected 1 to 1024, got 1025"),
        ({"q": np.zeros(11, np.int8)}, "q: expected 12 int8 values, got 11"),
        ({"k": [0] * 12}, "k: expected array('b'), got list"),
        ({"constants": CONSTANTS | {"phi": "tanh"}}, "phi: expected relu, relu+1 or elu+1, got"),
        ({"constants": CONSTANTS | {"table_q": [1]}}, "table_q: expected 256 values, got 1"),
        ({"constants": CONSTANTS | {"table_k": None}}, "table_k: expected 256 values, got 0"),
        ({"constants": CONSTANTS | {"table_k": [4096] * 256}}, "table_k: expected 0 to 4095, got"),
        ({"constants": CONSTANTS | {"out_num": 5}}, "out_num: expected"),
        ({"constants": CONSTANTS | {"out_shift": 46}}, "out_shift: expected 16 to 45, got 46"),
        ({"block": 0}, "block_rows: expected 1 to"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, change, message):
    values = {name: np.zeros(12, np.int8) for name in "qkv"} | {
        "seq_len": 3, "head_dim": 4, "causal": False, "need": False, "block": 8,
        "constants": CONSTANTS,
    }
    assert remote.refused(RUN, **values | change).startswith(message)
