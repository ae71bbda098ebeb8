"""Conv1D in int8 and in the other formats, and the pipeline into attention."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.layers.conv1d import Conv1D, QConv1D
from attn8_host.layers.dense import Dense
from attn8_host.layers.self_attention_1d import SelfAttention1D
from attn8_host.numerics.formats import Format
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, sizes
from tests.test_selfattention1d import formats, values

RUN = """
from attn8 import Conv1D
from attn8.layers.dense import Linear
linear = Linear("conv", size, filters, weight, bias, mult, shift)
layer = Conv1D(len(x), size, stride, filters, linear, time_major)
give(layer(x))
give(layer(x))
"""


def parameters(rng, fill, filters, size):
    """Of an int8 convolution."""
    return Dense(
        int8(rng, fill, filters, size),
        rng.integers(-1000, 1000, filters).astype(np.int32),
        rng.integers(1 << 14, 1 << 15, filters).astype(np.int16),
        rng.integers(20, 24, filters).astype(np.int8),
    )


@machine_settings
@given(length=sizes, size=sizes, stride=st.integers(1, 5), offset=alignment)
def test_machine_code(machines, length, size, stride, offset):
    size = min(length, size)
    x = np.random.default_rng(0).integers(-128, 128, length).astype(np.int8)
    seen = np.lib.stride_tricks.sliding_window_view(x, size)[::stride]
    call = Call(machines("conv1d"), offset)
    _, found, *_ = call("windows", x, np.zeros(seen.size, np.int8), len(seen), size, stride)
    assert (found.read(np.int8) == seen.ravel()).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), length=st.integers(1, 60), size=st.integers(1, 9),
    stride=st.integers(1, 5), filters=st.integers(1, 6), time_major=st.booleans(), fill=fills,
)
def test_board_equals_reference(remote, seed, length, size, stride, filters, time_major, fill):
    rng = np.random.default_rng(seed)
    size = min(length, size)
    dense, x = parameters(rng, fill, filters, size), int8(rng, fill, length)
    expected = Conv1D(dense, stride, time_major)(x)
    for out in remote(
        RUN, x=x, size=size, stride=stride, filters=filters, time_major=time_major,
        weight=dense.weight, bias=dense.bias, mult=dense.mult, shift=dense.shift,
    ):
        assert (out == expected.ravel()).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), length=st.integers(1, 40), size=st.integers(1, 9),
    stride=st.integers(1, 5), filters=st.integers(1, 6), time_major=st.booleans(), form=formats,
    scale=st.sampled_from([0, 1]),
)
def test_board_equals_reference_in_fixed_point(
    remote, seed, length, size, stride, filters, time_major, form, scale
):
    rng = np.random.default_rng(seed)
    size = min(length, size)
    weights, biases = values(rng, form, scale, filters, size), values(rng, form, scale, filters)
    x = values(rng, form, scale, length)
    out = remote("""
from attn8 import QConv1D
layer = QConv1D(len(x), size, stride, filters, *format, time_major=time_major)
layer.weights[:] = weights
layer.biases[:] = biases
give(layer(x))
""", x=x, size=size, stride=stride, filters=filters, time_major=time_major, weights=weights,
        biases=biases, format=(form.name, form.rounding, form.overflow))
    assert (out == QConv1D(weights, biases, stride, form, time_major)(x).ravel()).all()


PIPELINE = """
from attn8 import QConv1D, SelfAttention1D
conv = QConv1D(128, 5, 2, 4, "Q16.16", time_major=time_major)
attention = SelfAttention1D(62, 4, 4, "Q16.16")
conv.weights[:] = weights
conv.biases[:] = biases
attention.weights[:] = projections
features = conv(x)
if not time_major:  # [filters, positions] -> [positions, filters]
    reshaped = array("i", [0] * 248)
    for t in range(62):
        for f in range(4):
            reshaped[t * 4 + f] = features[f * 62 + t]
    features = reshaped
give(conv.positions)
give(attention(features))
"""


def test_published_pipeline(remote):
    # 128 points, kernel 5, stride 2, 4 filters: 62 positions; filter-major, reshaped, or at once
    rng = np.random.default_rng(9)
    form = Format("Q16.16")
    weights, biases = form.encode(rng.normal(0, 0.5, (4, 5))), form.encode(rng.normal(0, 0.1, 4))
    projections = form.encode(rng.normal(0, 0.5, (3, 4, 4)))
    x = form.encode(np.sin(np.arange(128) / 5) + rng.normal(0, 0.1, 128))
    features = QConv1D(weights, biases, 2, form)(x)
    assert features.shape == (4, 62)
    expected = SelfAttention1D(projections, form.encode(np.zeros((3, 4))), form)(features.T)
    for time_major in (False, True):
        positions, out = remote(
            PIPELINE, x=x, weights=weights, biases=biases, projections=projections,
            time_major=time_major,
        )
        assert positions == 62
        assert (out == expected.ravel()).all()


def test_a_call_allocates_nothing(remote):
    dense = parameters(np.random.default_rng(0), "random", 4, 5)
    assert remote.needs_no_heap("layer(x)", """
from attn8 import Conv1D
from attn8.layers.dense import Linear
layer = Conv1D(128, 5, 2, 4, Linear("conv", 5, 4, weight, bias, mult, shift))
x = array("b", bytes(128))
""", weight=dense.weight, bias=dense.bias, mult=dense.mult, shift=dense.shift)


@pytest.mark.parametrize(
    "code, message",
    [
        ("Conv1D(4, 5, 1, 1, linear)", "kernel_size: expected 1 to 4, got 5"),
        ("Conv1D(9, 3, 0, 1, linear)", "stride: expected 1 to 32768, got 0"),
        ("Conv1D(9, 3, 1, 2, linear)", "conv.weight: expected shape [2, 3], got [1, 3]"),
        ("Conv1D(9, 3, 1, 1, Linear('conv', 3, 1, bytearray(3), array('i', [0])))",
         "missing tensor conv.mult"),
        ("Conv1D(9, 3, 1, 1, linear)(bytes(8))", "conv: expected 9 int8 values, got 8"),
        ("QConv1D(9, 3, 1, 0)", "filters: expected 1 to 4096, got 0"),
        ("QConv1D(9, 3, 1, 1)(array('i', [0]))", "x: expected 9 values, got 1"),
        ("QConv1D(9, 3, 1, 1).set_weight(1, 0, 0.5)", "filter: expected 0 to 0, got 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    said = remote.refused(
        code,
        "from attn8 import Conv1D, QConv1D\nfrom attn8.layers.dense import Linear\n"
        "linear = Linear('conv', 3, 1, bytearray(3), array('i', [0]), array('h', [16384]),"
        " array('b', [20]))",
    )
    assert said == message
