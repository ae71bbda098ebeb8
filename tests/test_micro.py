"""The original ESP32 attention: its published checks, the kernels and the board."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.cores.micro import Micro
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, shapes


def original(query, keys, values, position):
    """The original's code, in plain integers: scores, weights and output of one query."""
    head_dim = len(query)
    shift = 3 if head_dim >= 64 else 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1
    scores = [sum(a * b for a, b in zip(query, key, strict=True)) >> shift for key in keys]
    for j in range(position + 1, len(keys)):
        scores[j] = -(2**31) // 2
    top = max(scores)
    found = []
    for score in scores:
        x = min(max(score - top, -512), 0)
        found.append(max(256 + int(x / 2), 1))
    weights = [e * 256 // sum(found) for e in found]
    columns = zip(*values, strict=True)
    output = [sum(w * v for w, v in zip(weights, column, strict=True)) >> 8 for column in columns]
    return weights, output


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=st.integers(1, 12), head_dim=st.integers(1, 70),
    causal=st.booleans(), fill=fills, shrink=st.sampled_from([1, 8, 32]),
)
def test_reference_is_the_original(seed, seq_len, head_dim, causal, fill, shrink):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    q //= shrink
    reference = Micro(causal)
    out = reference(q, k, v)
    for t in range(seq_len):
        weights, output = original(
            q[t].tolist(), k.tolist(), v.tolist(), t if causal else seq_len - 1
        )
        assert reference.weights[t].tolist() == weights
        assert out[t].tolist() == output


def original_window(query, keys, values, window, cache_len):
    """The original's sliding window, in plain integers; rings of keys and values."""
    start = max(0, cache_len - window)
    scores = []
    for i in range(start, cache_len):
        scores.append(sum(a * b for a, b in zip(query, keys[i % window], strict=True)) >> 3)
    top = max(scores)
    scores = [max(256 + int((score - top) / 2), 1) for score in scores]
    total = sum(scores)
    output = [0] * len(query)
    for i, score in enumerate(scores):
        weight = score * 256 // max(total, 1)
        for j, value in enumerate(values[(start + i) % window]):
            output[j] += weight * value
    return [x >> 8 for x in output]


def slid(q, k, v, window):
    """The original's outputs of all tokens in turn."""
    keys, values, rows = {}, {}, []
    for t in range(len(q)):
        keys[t % window], values[t % window] = k[t].tolist(), v[t].tolist()
        rows.append(original_window(q[t].tolist(), keys, values, window, t + 1))
    return np.array(rows)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=st.integers(1, 12), head_dim=st.integers(1, 70),
    window=st.integers(1, 14), fill=fills, shrink=st.sampled_from([1, 8, 32]),
)
def test_window_is_the_original(remote, seed, seq_len, head_dim, window, fill, shrink):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    q //= shrink
    expected = slid(q, k, v, window)
    reference = Micro(True, window)
    assert (reference(q, k, v) == expected).all()
    out, weights = remote(
        "from attn8 import Micro\n"
        "core = Micro(seq_len, head_dim, causal=True, need_weights=True, window=window)\n"
        "give(core(q, k, v, array('b', bytes(len(q)))))\ngive(core.outputs[0][2])",
        q=q.ravel(), k=k.ravel(), v=v.ravel(), seq_len=seq_len, head_dim=head_dim, window=window)
    assert (out.reshape(expected.shape) == expected).all()
    assert (weights == reference.weights).all()


def test_made_and_used_as_published(remote):
    """MicroAttention::new(64, 4); what has nothing to do does nothing."""
    found = remote("""
from attn8 import Linear, Micro
core = Micro.new(64, 4)
give((core.head_dim, core.scale_shift))
give(list(core.softmax_fixed(array("i"))))
scores = array("i", [100, 50, 0, -50])
for position in (3, 4, 9):
    give(list(core.apply_causal_mask(scores, position)))
give(list(core.apply_causal_mask(scores, 2)))
linear = Linear.from_scales(1, 4, 1, 1, 1, 1)
give([linear.feature_map(x) for x in (-128, -1, 0, 1, 127)])
""")
    assert found == [(16, 2), [], *[[100, 50, 0, -50]] * 3, [100, 50, 0, -(2**30)],
                     [1, 1, 1, 2, 128]]


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), shape=shapes(12, 12), causal=st.booleans(), offset=alignment,
    fill=fills, shrink=st.sampled_from([1, 8, 32]),
)
def test_machine_code(machines, seed, shape, causal, offset, fill, shrink):
    seq_len, head_dim = shape
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    q //= shrink
    reference = Micro(causal)
    expected = reference(q, k, v)
    shift = 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1

    call = Call(machines("micro"), offset)
    t = seq_len // 2  # one row of scores, in the middle
    _, _, _, scores, *_ = call(
        "compute_scores", k, 0, q, np.zeros(seq_len**2, np.int32), t, seq_len, t, head_dim, shift
    )
    row = slice(t * seq_len, (t + 1) * seq_len)
    assert (scores.read(np.int32)[row] == Micro.compute_scores(q[t], k)).all()
    if causal:
        call("apply_causal_mask", scores, t, seq_len, t)
    call("softmax_fixed", scores, 0, t, seq_len)
    assert (scores.read(np.int32)[row] == reference.weights[t]).all()
    _, _, _, sums, *_ = call(
        "weighted_sum", v, 0, scores, np.zeros(head_dim, np.int32), t, seq_len, head_dim
    )
    assert (sums.read(np.int32) == expected[t]).all()
    _, out, *_ = call("narrow", sums, np.zeros(seq_len * head_dim, np.int8), t, head_dim)
    assert (out.read(np.int8).reshape(expected.shape)[t] == expected[t]).all()


@machine_settings
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9))
def test_softmax_of_any_scores(machines, scores):
    call = Call(machines("micro"))
    found, *_ = call("softmax_fixed", np.array(scores, np.int32), 0, 0, len(scores))
    expected = Micro.softmax_fixed(np.array(scores, np.int64))
    assert (found.read(np.int32) == expected).all()


RUN = """
from attn8 import Micro
out = array("b", bytes(len(q)))
core = Micro(seq_len, head_dim, causal=causal, need_weights=need)
core(q, k, v, out)
give(out)
give(core.weights)
"""


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=st.integers(1, 30), head_dim=st.integers(1, 70),
    causal=st.booleans(), need=st.booleans(), fill=fills, shrink=st.sampled_from([1, 8, 32]),
)
def test_board_equals_reference(remote, seed, seq_len, head_dim, causal, need, fill, shrink):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    q //= shrink
    reference = Micro(causal)
    expected = reference(q, k, v)
    out, weights = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, causal=causal, need=need
    )
    assert (out == expected.ravel()).all()
    kept = reference.weights if need else reference.weights[-1]
    assert (weights == kept.ravel()).all()


def test_published_checks(remote):
    # Of the original: keys of 10s and of 5s; the softmax of [100, 50, 0, -50]
    first, second = remote("""
from attn8 import Micro
core = Micro(2, 16)
query = array("b", [10] * 16)
keys = array("b", [10] * 16 + [5] * 16)
give(core.compute_scores(query, keys, array("i", [0, 0])))
give(core.softmax_fixed(array("i", [100, 50, 0, -50])))
""")
    assert first.tolist() == [400, 200]
    assert abs(second.sum() - 256) <= 10
    assert (np.diff(second) < 0).all()


def test_steps_are_separate_calls(remote):
    masked, weights, output = remote("""
from attn8 import Micro
core = Micro(3, 2)
scores = array("i", [100, 90, 80])
give(core.apply_causal_mask(scores, 1))
give(core.softmax_fixed(scores))
values = array("b", [100, -100, 50, -50, 1, 1])
give(core.weighted_sum(scores, values, array("i", [0, 0])))
""")
    assert masked.tolist() == [100, 90, -(2**30)]
    assert weights.tolist() == [256 * 256 // 508, 251 * 256 // 508, 0]
    assert output.tolist() == [(129 * 100 + 126 * 50) >> 8, (-129 * 100 - 126 * 50) >> 8]


def test_a_call_allocates_nothing(remote):
    assert remote.needs_no_heap("core(q, q, q, out)", """
from attn8 import Micro
q = array("b", bytes(96))
out = array("b", bytes(96))
core = Micro(12, 8, causal=True)
""")


@pytest.mark.parametrize(
    "code, message",
    [
        ("Micro(0, 4)", "seq_len: expected 1 to 32768, got 0"),
        ("Micro(2, 4)(b, b, bytes(7), b)", "v: expected 8 int8 values, got 7"),
        ("Micro(2, 4).compute_scores(bytes(3), b, i)", "query: expected 4 int8 values, got 3"),
        ("Micro(2, 4).compute_scores(bytes(4), b[:7], i)", "keys: expected 8 int8 values, got 7"),
        ("Micro(2, 4).softmax_fixed(b)", "scores: expected array('i'), got array of 'b'"),
        ("Micro(2, 4, window=2)", "causal: expected True with a window, got False"),
        ("Micro(2, 4, True, window=0)", "window: expected 1 to 32768, got 0"),
        ("Micro.new(4, 5)", "num_heads: expected 1 to 4, got 5"),
        ("Micro(2, 4).apply_causal_mask(i, -1)", "current_pos: expected 0 to 32768, got -1"),
        ("Micro(2, 4).weighted_sum(i, b, i)", "output: expected 4 values, got 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    setup = "from attn8 import Micro\nb = array('b', bytes(8))\ni = array('i', [0, 0])"
    assert remote.refused(code, setup) == message
