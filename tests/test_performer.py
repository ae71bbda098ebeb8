"""FAVOR+ attention: the kernels and the board against the reference, and that against floats."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host.cores import performer
from attn8_host.cores.performer import Performer, performer_constants, random_features
from attn8_host.numerics import floating
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.scales import quantize
from tests.test_exact import KINDS, structured
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, shapes

RUN = """
from attn8 import Performer
out = array("b", bytes(len(q)))
core = Performer(seq_len, head_dim, features, causal=causal, need_weights=need, block_rows=block,
                 **constants)
core(q, k, v, out)
give(out)
for name, code, values in core.outputs:
    give(values)
"""


def constants(head_dim, num_features, seed=0, scales=(0.02, 0.03, 0.02, 0.01), orthogonal=True):
    """The core's keywords, the features of one head among them."""
    features = random_features(1, num_features, head_dim, seed, orthogonal)
    found = performer_constants(head_dim, *scales, features)
    return found | {"features": found["features"][0]}


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=shapes(8, 16),
    num_features=st.integers(1, 20),
    scale=st.sampled_from([1e-4, 0.01, 0.05]),
    offset=alignment,
    fill=fills,
)
@example(seed=0, shape=(3, 33), num_features=64, scale=0.05, offset=1, fill="extremes")
def test_machine_code(machines, seed, shape, num_features, scale, offset, fill):
    rng = np.random.default_rng(seed)
    head_dim = shape[1]
    keywords = constants(head_dim, num_features, seed, (scale, scale, 0.02, 0.01))
    q, k, v = (int8(rng, fill, *shape) for _ in range(3))
    run_kernels(machines, keywords, q, k, v, offset)


def run_kernels(machines, keywords, q, k, v, offset):
    """The steps of a bidirectional call, all rows in one block."""
    seq_len, head_dim = q.shape
    num_features = len(keywords["features"])
    reference = Performer(**keywords)
    expected = reference(q, k, v)
    projected = {
        name: (x.astype(np.int32) @ keywords["features"].astype(np.int32).T).astype(np.int32)
        for name, x in (("q", q), ("k", k))
    }
    call = Call(machines("performer"), offset)
    machine = call.machine
    table = machine.buffer(EXP2.astype(np.uint16))
    keys, *_ = call(
        "logarithms", projected["k"], 0, k, 0, seq_len, num_features, head_dim,
        keywords["key_mult"], keywords["key_shift"], keywords["norm_mult"], keywords["norm_shift"],
    )
    kv, _, _, _, z, octaves, *_ = call(
        "accumulate", np.zeros((num_features, head_dim), np.int32), np.zeros(head_dim, np.uint8),
        keys, v, np.zeros(num_features, np.int32), np.full(num_features, -(1 << 24), np.int32),
        table, 0, seq_len, num_features, head_dim,
    )
    assert (z.read(np.int32) == reference.outputs["z"]).all()
    *_, out, small_z, scales, _, _ = call(
        "shrink", kv, 0, z, octaves, np.zeros(num_features * head_dim, np.int32),
        np.zeros(num_features, np.int32), np.zeros(num_features, np.int32), num_features, head_dim,
    )
    assert (out.read(np.int32) == reference.outputs["kv"].ravel()).all()
    queries, *_ = call(
        "logarithms", projected["q"], 0, q, 0, seq_len, num_features, head_dim,
        keywords["query_mult"], keywords["query_shift"], 0, 1,
    )
    _, _, _, phi, *_ = call(
        "features", queries, 0, scales, np.zeros(seq_len * num_features, np.uint16), table, seq_len,
        num_features,
    )
    found = [buffer.read(dtype) for buffer, dtype in
             ((out, np.int32), (phi, np.uint16), (small_z, np.int32))]

    many = num_features > 64  # in blocks, and narrowed apart
    call = Call(machines("int32" if many else "linear"), offset)
    _, _, _, _, sums, result, *_ = call(
        "attend", found[0], 0, found[1], found[2], np.zeros(seq_len, np.int32),
        np.zeros(q.size, np.int32 if many else np.int8), 0, seq_len, num_features, head_dim, 7, 0,
        keywords["out_num"], keywords["out_shift"],
        *([1 if num_features <= 128 else 2] if many else []),
    )
    if many:
        _, _, result, *_ = call("clamp", result, 0, np.zeros(q.size + 3, np.int8), 3, q.size)
        expected = np.append(np.zeros(3), expected)
    assert (sums.read(np.int32) == reference.outputs["sums"]).all()
    assert (result.read(np.int8) == expected.ravel()).all()


@pytest.mark.parametrize("value", [-128, -127, 127])
def test_machine_code_at_the_largest_sums(machines, value):
    # 512 equal keys: every weight is 32768, times 127 or -128
    keywords = constants(2, 3)
    q = np.full((512, 2), 127, np.int8)
    run_kernels(machines, keywords, q, q, np.full((512, 2), value, np.int8), 0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 30),
    head_dim=st.integers(1, 30),
    num_features=st.integers(1, 130),
    causal=st.booleans(),
    need=st.booleans(),
    block=st.integers(1, 9),
    fill=fills,
)
def test_board_equals_reference(
    remote, seed, seq_len, head_dim, num_features, causal, need, block, fill
):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    keywords = constants(head_dim, num_features, seed)
    reference = Performer(**keywords, causal=causal)
    expected = reference(q, k, v)
    features = keywords.pop("features")
    given_ = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, causal=causal, need=need,
        block=block, features=features, constants=keywords,
    )
    out, *kept = given_ if need else [given_]
    assert (out == expected.ravel()).all()
    for name, got in zip(("kv", "z", "sums"), kept, strict=False):
        assert (got == reference.outputs[name].ravel()).all(), name


def test_steps_equal_the_causal_result_and_can_start_again(remote):
    rng = np.random.default_rng(5)
    q, k, v = rng.integers(-127, 128, (3, 9, 6)).astype(np.int8)
    keywords = constants(6, 16)
    expected = Performer(**keywords, causal=True)(q, k, v)
    first, second = remote("""
from attn8 import Performer
core = Performer(9, 6, features, **constants)
for _ in range(2):
    rows = array("b", bytes(54))
    for t in range(9):
        a, b = 6 * t, 6 * t + 6
        core.step(q[a:b], k[a:b], v[a:b], memoryview(rows)[a:b])
    give(rows)
    core.reset()
""", q=q, k=k, v=v, features=keywords.pop("features"), constants=keywords)
    assert (first == expected.ravel()).all()
    assert (second == expected.ravel()).all()


def test_a_call_allocates_nothing(remote):
    keywords = constants(8, 16)
    assert remote.needs_no_heap("core(q, q, q, out)\ncausal(q, q, q, out)", """
from attn8 import Performer
q = array("b", bytes(96))
out = array("b", bytes(96))
core, causal = [
    Performer(12, 8, features, causal=causal, **constants) for causal in (False, True)
]
""", features=keywords.pop("features"), constants=keywords)


@pytest.mark.parametrize("causal", [False, True])
def test_reference_is_close_to_float(causal):
    # Target of the specification: 0.8 LSB with the same int8 features; cosine >= 0.999
    rng = np.random.default_rng(7)
    for kind in KINDS:
        for seq_len, head_dim in ((8, 16), (33, 64), (128, 16), (512, 64)):
            if causal and seq_len > 64:
                continue
            q, k, v = structured(kind, rng, seq_len, head_dim)
            v = v + rng.normal(size=(1, head_dim)) / 2  # channels with means of their own
            scales = [float(np.abs(x).max()) / 127 for x in (q, k, v)]
            q, k, v = (quantize(x, s) for x, s in zip((q, k, v), scales, strict=True))
            features = random_features(1, 64, head_dim, 3)
            step = float(np.abs(features).max()) / 127
            exact = performer.floating(
                q * scales[0], k * scales[1], v * scales[2], causal,
                quantize(features[0], step) * step,
            )
            scale = float(np.abs(exact).max()) / 127
            keywords = performer_constants(head_dim, *scales, scale, features)
            keywords["features"] = keywords["features"][0]
            out = Performer(**keywords, causal=causal)(q, k, v)
            assert np.abs(out - exact / scale).max() <= 0.8, (kind, seq_len, head_dim)
            cosine = (out * exact).sum() / np.linalg.norm(out) / np.linalg.norm(exact)
            assert cosine >= 0.999, (kind, seq_len, head_dim)


def test_more_features_come_closer_to_softmax():
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(3, 64, 16)) * 0.7
    exact = floating.attention(q, k, v, 0.25)
    errors = []
    for num_features in (8, 64):
        found = [
            performer.floating(q, k, v, False, random_features(1, num_features, 16, seed)[0])
            for seed in range(20)
        ]
        errors.append(np.sqrt(((np.array(found) - exact) ** 2).mean()))
    assert errors[1] < 0.6 * errors[0]


def test_random_features():
    orthogonal = random_features(2, 8, 8, 5)
    for block in orthogonal:
        gram = block @ block.T
        assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-9
    assert (orthogonal == random_features(2, 8, 8, 5)).all()
    assert (orthogonal != random_features(2, 8, 8, 6)).any()
    normal = random_features(1, 64, 64, 5, orthogonal=False)
    assert abs(normal.std() - 1) < 0.05
    assert abs(random_features(1, 100, 64, 5).std() - 1) < 0.05
    assert random_features(3, 20, 7, 1).shape == (3, 20, 7)


CONSTANTS = constants(4, 5)
FEATURES = CONSTANTS.pop("features")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seq_len": 32769}, "seq_len: expected 1 to 32768, got 32769"),
        ({"features": np.zeros(257 * 4, np.int8)}, "num_features: expected 1 to 256, got 257"),
        ({"features": np.zeros(3, np.int8)}, "num_features: expected 1 to 256, got 0"),
        ({"features": np.zeros(7, np.int8)}, "features: expected 4 int8 values, got 7"),
        ({"q": np.zeros(11, np.int8)}, "q: expected 12 int8 values, got 11"),
        ({"constants": CONSTANTS | {"key_mult": 1 << 30}}, "key_mult: expected 0 to"),
        ({"constants": CONSTANTS | {"norm_shift": 7}}, "norm_shift: expected 8 to 28, got 7"),
        ({"constants": CONSTANTS | {"out_num": 5}}, "out_num: expected"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, change, message):
    values = {name: np.zeros(12, np.int8) for name in "qkv"} | {
        "seq_len": 3, "head_dim": 4, "causal": False, "need": False, "block": 8,
        "features": FEATURES, "constants": CONSTANTS,
    }
    assert remote.refused(RUN, **values | change).startswith(message)


def test_scales_beyond_the_logarithms_are_refused():
    with pytest.raises(ValueError, match="octaves of a product: expected less than"):
        constants(16, 8, scales=(50.0, 50.0, 1.0, 1.0))
