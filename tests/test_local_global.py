"""A window and global tokens: the kernels and the board against the reference, and floats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.cores import local_global
from attn8_host.cores.local_global import LocalGlobal, local_global_constants
from attn8_host.numerics import floating
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.scales import quantize
from tests.test_exact import KINDS, structured
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, shapes, sizes

RUN = """
from attn8 import LocalGlobal
out = array("b", bytes(len(q)))
core = LocalGlobal(seq_len, head_dim, gate, window, indices, causal=causal, need_weights=need,
                   block_rows=block, **constants)
core(q, k, v, out)
give(out)
for name, code, values in core.outputs:
    give(values)
"""


def constants(rng, head_dim, scale=0.03):
    """The core's constants, and its gate apart; both ends of the gate are there."""
    logits = rng.normal(size=(1, head_dim)) * rng.choice([1, 20])
    found = local_global_constants(head_dim, scale, scale, 0.02, 0.01, logits, 1, [])
    return found, found.pop("gate")[0]


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), keys=sizes, rows=st.integers(1, 5),
    head_dim=sizes, first=st.integers(0, 3), offset=alignment, fill=fills,
)
def test_machine_code(machines, seed, keys, rows, head_dim, first, offset, fill):
    # Ranges of all kinds, empty ones included, in every row; both softmaxes use these kernels
    rng = np.random.default_rng(seed)
    found, gate = constants(rng, head_dim, float(rng.choice([1e-3, 0.03, 0.3])))
    q = int8(rng, fill, first + rows, head_dim)
    k, v = (int8(rng, fill, keys, head_dim) for _ in range(2))
    starts = rng.integers(0, keys, rows)
    counts = rng.integers(0, keys - starts, endpoint=True)
    ranges = np.stack([starts, counts], axis=1).astype(np.uint16)
    width = int(counts.max())

    reference = LocalGlobal(gate, 0, [], **found)
    columns = np.arange(keys)
    seen = (columns >= starts[:, None]) & (columns < (starts + counts)[:, None])
    dot = q[first:].astype(np.int64) @ k.astype(np.int64).T
    weights, sums, out = reference._softmax(dot, seen, v)

    call = Call(machines("local_global"), offset)
    packed = (k.astype(int) + 128).astype(np.uint8)
    values = np.ascontiguousarray((v.T.astype(int) + 128).astype(np.uint8))
    key_sums = (128 * packed.sum(axis=1, dtype=np.int32)).astype(np.int32)
    *_, got_scores, _, _, _, _, _ = call(
        "scores", packed, 0, q, key_sums, ranges, np.zeros(rows * width, np.int32),
        np.zeros(head_dim, np.uint8), first, rows, width, head_dim,
    )
    _, _, got_ranges, got_weights, got_sums, *_ = call(
        "softmax", got_scores, 0, ranges, np.zeros(rows * width, np.uint16),
        np.zeros(rows, np.int32), EXP2.astype(np.uint16), rows, width, found["score_mult"],
        found["score_shift"], found["score_limit"],
    )
    for r in range(rows):
        part = slice(starts[r], starts[r] + counts[r])
        row = slice(r * width, r * width + counts[r])
        assert (got_scores.read(np.int32)[row] == dot[r, part]).all()
        assert (got_weights.read(np.uint16)[row] == weights[r, part]).all()
    assert (got_sums.read(np.int32) == sums).all()
    _, _, _, _, _, got, *_ = call(
        "weighted_sum", values, 0, got_weights, got_sums, got_ranges,
        np.zeros(rows * head_dim, np.int16), rows, keys, width, head_dim, found["out_num"],
        found["out_shift"],
    )
    assert (got.read(np.int16) == out.ravel()).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), seq_len=sizes, rows=st.integers(1, 5),
       back=st.integers(0, 9), ahead=st.integers(0, 9), causal=st.booleans())
def test_machine_code_of_ranges(machines, seed, seq_len, rows, back, ahead, causal):
    rng = np.random.default_rng(seed)
    rows = min(rows, seq_len)
    first = int(rng.integers(0, seq_len - rows, endpoint=True))
    n = int(rng.integers(0, seq_len, endpoint=True))
    indices = np.sort(rng.choice(seq_len, n, False)).astype(np.uint16)
    near, far, *_ = Call(machines("local_global"))(
        "ranges", np.zeros(2 * rows, np.uint16), np.zeros(2 * rows, np.uint16), indices, n, first,
        rows, seq_len, back, ahead, int(causal),
    )
    at = np.arange(first, first + rows)
    start, end = np.maximum(at - back, 0), np.minimum(at + ahead + 1, seq_len)
    seen = (indices <= at[:, None]).sum(axis=1) if causal else np.full(rows, n)
    assert (near.read(np.uint16).reshape(-1, 2) == np.stack([start, end - start], 1)).all()
    assert (far.read(np.uint16).reshape(-1, 2) == np.stack([0 * seen, seen], 1)).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), shape=shapes(9, 20))
def test_machine_code_of_gather_and_blend(machines, seed, rows, shape):
    seq_len, head_dim = shape
    rng = np.random.default_rng(seed)
    call = Call(machines("local_global"))
    indices = np.sort(rng.choice(seq_len, int(rng.integers(0, seq_len)), False)).astype(np.uint16)
    keys = rng.integers(0, 256, (seq_len, head_dim)).astype(np.uint8)
    sums = rng.integers(0, 2**31 - 1, seq_len).astype(np.int32)
    values = rng.integers(0, 256, (head_dim, seq_len)).astype(np.uint8)
    n = len(indices)
    *_, out_keys, out_sums, out_values, _, _, _ = call(
        "gather", keys, sums, values, indices, np.zeros(n * head_dim, np.uint8),
        np.zeros(n, np.int32), np.zeros(n * head_dim, np.uint8), n, seq_len, head_dim,
    )
    assert (out_keys.read() == keys[indices].ravel()).all()
    assert (out_sums.read(np.int32) == sums[indices]).all()
    assert (out_values.read() == values[:, indices].ravel()).all()

    local, far = rng.choice(
        np.array([-32767, -4065, -1, 0, 1, 4064, 32767], np.int16), (2, rows, head_dim)
    )
    gate = rng.choice(np.array([0, 1, 16384, 32767, 32768], np.uint16), head_dim)
    _, _, _, _, out, *_ = call(
        "blend", local, 0, far, gate, np.zeros((rows + 1) * head_dim, np.int8), 1, rows, head_dim
    )
    blend = local.astype(int) * gate + far.astype(int) * (32768 - gate.astype(int))
    expected = np.clip(np.floor(blend / 2**20 + 0.5), -127, 127)
    assert (out.read(np.int8)[head_dim:] == expected.ravel()).all()


cases = dict(
    seed=st.integers(0, 2**32 - 1), seq_len=st.integers(1, 40), head_dim=st.integers(1, 30),
    window=st.integers(0, 45), globals_=st.integers(0, 40), causal=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(need=st.booleans(), block=st.integers(1, 9), fill=fills, **cases)
def test_board_equals_reference(
    remote, seed, seq_len, head_dim, window, globals_, causal, need, block, fill
):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    found, gate = constants(rng, head_dim)
    indices = rng.choice(seq_len, min(seq_len, globals_), False).tolist()
    reference = LocalGlobal(gate, window, indices, **found, causal=causal)
    expected = reference(q, k, v)
    given_ = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, gate=gate, window=window,
        indices=indices, causal=causal, need=need, block=block, constants=found,
    )
    out, *kept = given_ if need else [given_]
    assert (out == expected.ravel()).all()
    for name, got in zip(("local_weights", "local_sums", "global_sums"), kept, strict=False):
        assert (got == reference.outputs[name].ravel()).all(), name


def test_global_indices_can_change(remote):
    rng = np.random.default_rng(2)
    q, k, v = rng.integers(-127, 128, (3, 12, 4)).astype(np.int8)
    found, gate = constants(rng, 4)
    reference = LocalGlobal(gate, 2, [1], **found)
    expected = [reference(q, k, v)]
    reference.update_global_indices([0, 3, 11])
    expected.append(reference(q, k, v))
    outs = remote(
        RUN + "core.update_global_indices([11, 3, 0, 3])\ngive(core(q, k, v, out))\n",
        q=q, k=k, v=v, seq_len=12, head_dim=4, gate=gate, window=2, indices=[1], causal=False,
        need=False, block=5, constants=found,
    )
    assert (expected[0] != expected[1]).any()
    for out, want in zip(outs, expected, strict=True):
        assert (out == want.ravel()).all()


def test_global_indices_of_a_layer_can_change(remote):
    """Of all heads; an index of HNSW's next layer, say."""
    before, after, again, indices = remote("""
from attn8 import MultiHeadAttention
one = [0.0] * 16
for i in range(4): one[5 * i] = 1.0
given = {part + ".weight": one for part in ("q", "k", "v", "out")}
x = array("f", [i * 37 % 41 - 20 for i in range(32)])
tokens = array("b", [i * 29 % 255 - 127 for i in range(32)])
layer = MultiHeadAttention.from_floats(8, 4, 2, given, x, core="local_global", window=0,
                                       global_indices=[0])
give(layer(tokens))
layer.update_global_indices([5, 1])
give(layer(tokens))
heads = [list(core.global_indices) for core in layer.cores]
layer.update_global_indices([0])
give(layer(tokens))
give(heads)
""")
    assert (before != after).any() and (before == again).all()
    assert indices == [[1, 5]] * 2


def test_another_core_has_no_global_indices(remote):
    said = remote.refused("layer.update_global_indices([0])", """
from attn8 import MultiHeadAttention
given = {part + ".weight": [1.0] for part in ("q", "k", "v", "out")}
layer = MultiHeadAttention.from_floats(1, 1, 1, given, [1.0])
""")
    assert said == "attn: expected the core local_global, which has global tokens"


def test_a_call_allocates_nothing(remote):
    found, gate = constants(np.random.default_rng(0), 8)
    assert remote.needs_no_heap("core(q, q, q, out)", """
from attn8 import LocalGlobal
q = array("b", bytes(96))
out = array("b", bytes(96))
core = LocalGlobal(12, 8, gate, 2, [0, 5], **constants)
""", gate=gate, constants=found)


@pytest.mark.parametrize("causal", [False, True])
def test_reference_is_close_to_float(causal):
    # Target: 1 LSB; cosine >= 0.999
    rng = np.random.default_rng(7)
    for kind in KINDS:
        for seq_len, head_dim in ((8, 16), (33, 64), (128, 16), (512, 64)):
            q, k, v = structured(kind, rng, seq_len, head_dim)
            scales = [float(np.abs(x).max()) / 127 for x in (q, k, v)]
            q, k, v = (quantize(x, s) for x, s in zip((q, k, v), scales, strict=True))
            gate = rng.normal(size=(1, head_dim))
            options = {"window": 4, "global_indices": [0, seq_len // 2]}
            exact = local_global.floating(
                *(x * s for x, s in zip((q, k, v), scales, strict=True)), causal, gate[0],
                **options,
            )
            scale = max(float(np.abs(exact).max()) / 127, scales[2] / 8)
            keywords = local_global_constants(head_dim, *scales, scale, gate, **options)
            keywords["gate"] = keywords["gate"][0]
            out = LocalGlobal(**keywords, **options, causal=causal)(q, k, v)
            assert np.abs(out - exact / scale).max() <= 0.65, (kind, seq_len, head_dim)
            cosine = (out * exact).sum() / np.linalg.norm(out) / np.linalg.norm(exact)
            assert cosine >= 0.999, (kind, seq_len, head_dim)


def test_a_closed_gate_leaves_exact_attention():
    # A gate of 1 with a window over all keys is softmax attention; so is 0 with all indices
    rng = np.random.default_rng(4)
    q, k, v = (int8(rng, "random", 20, 8) for _ in range(3))
    found, _ = constants(rng, 8)
    one = LocalGlobal(np.full(8, 32768, np.uint16), 20, [], **found)(q, k, v)
    other = LocalGlobal(np.zeros(8, np.uint16), 0, range(20), **found)(q, k, v)
    assert (one == other).all()
    exact = floating.attention(*(x.astype(float) for x in (q, k, v)), 0.03**2 * 8**-0.5) * 2
    assert np.abs(one - np.clip(exact, -127, 127)).max() <= 0.65


CONSTANTS, GATE = constants(np.random.default_rng(0), 4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"indices": [0, 3]}, "global_indices: expected 0 to 2, got 3"),
        ({"indices": [-1]}, "global_indices: expected 0 to 2, got -1"),
        ({"window": -1}, "window: expected 0 to 32768, got -1"),
        ({"gate": GATE[:3]}, "gate: expected 4 values, got 3"),
        ({"gate": np.full(4, 40000, np.uint16)}, "gate: expected 0 to 32768, got 40000"),
        ({"k": np.zeros(11, np.int8)}, "k: expected 12 int8 values, got 11"),
        ({"constants": CONSTANTS | {"score_mult": 0}}, "score_mult: expected 1 to"),
        ({"constants": CONSTANTS | {"out_shift": 46}}, "out_shift: expected 16 to 45, got 46"),
        ({"block": 0}, "block_rows: expected 1 to"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, change, message):
    values = {name: np.zeros(12, np.int8) for name in "qkv"} | {
        "seq_len": 3, "head_dim": 4, "causal": False, "need": False, "block": 8, "gate": GATE,
        "window": 1, "indices": [0], "constants": CONSTANTS,
    }
    assert remote.refused(RUN, **values | change).startswith(message)
