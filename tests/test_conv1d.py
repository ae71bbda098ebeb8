"""Conv1D in int8 and in the other formats, and the pipeline into attention."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host import float_model, layers
from attn8_host.errors import ModelError
from attn8_host.layers.conv1d import Conv1D, Geometry, QConv1D
from attn8_host.layers.dense import Dense
from attn8_host.layers.self_attention_1d import SelfAttention1D
from attn8_host.numerics.formats import Format
from tests.test_kernels import (
    Call,
    alignment,
    dense_operands,
    fills,
    int8,
    machine_settings,
    sizes,
)
from tests.test_selfattention1d import formats, values

RUN = """
from attn8 import Conv1D
from attn8.kernels import depthwise
from attn8.layers.dense import Linear
linear = Linear("conv", size * channels // groups, filters, weight, bias, mult, shift, output,
                depthwise if groups > 1 else None)
layer = Conv1D(len(x) // channels, size, stride, filters, linear, time_major, channels, padding,
               dilation, groups)
code = "h" if output == "int16" else "b"
give(array(code, layer(x)))
give(array(code, layer(x)))
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
@given(
    length=sizes, channels=st.integers(1, 9), size=st.integers(1, 9), stride=st.integers(1, 5),
    padding=st.integers(0, 4), dilation=st.integers(1, 3), offset=alignment,
)
def test_machine_code(machines, length, channels, size, stride, padding, dilation, offset):
    padding = max(padding, dilation * (size - 1) + 1 - length)
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (length, channels)).astype(np.int8)
    padded = np.pad(x, ((padding, padding), (0, 0)))
    reach = dilation * (size - 1) + 1
    seen = np.stack([padded[p : p + reach : dilation]
                     for p in range(0, len(padded) - reach + 1, stride)])
    call = Call(machines("conv1d"), offset)
    _, found, *_ = call("windows", x, np.zeros(seen.size, np.int8), len(seen), size, channels,
                        stride * channels, dilation * channels, -padding * channels, x.size)
    assert (found.read(np.int8) == seen.ravel()).all()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), positions=st.integers(1, 4), size=st.integers(1, 40),
    channels=st.integers(1, 9), multiplier=st.integers(1, 3), offset=alignment, fill=fills,
)
@example(seed=0, positions=1, size=4096, channels=1, multiplier=1, offset=0, fill="lowest")
def test_machine_code_of_depthwise(
    machines, seed, positions, size, channels, multiplier, offset, fill
):
    rng = np.random.default_rng(seed)
    filters = channels * multiplier
    _, w, bias, mult, shift, _ = dense_operands(rng, fill, 1, size, filters, False)
    x = int8(rng, fill, positions * size, channels)
    # Each position sees rows of its own
    geometry = Geometry(size, size, channels, groups=channels)
    expected = Conv1D(Dense(w, bias, mult, shift), geometry, True)(x)
    call = Call(machines("depthwise"), offset)
    *_, out, _, _, _, _, _ = call(
        "matmul", w, 0, x, bias, mult, shift, np.zeros(positions * filters, np.int8), positions,
        size, channels, multiplier, 0)
    assert (out.read(np.int8) == expected.ravel()).all()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), length=st.integers(1, 60), size=st.integers(1, 9),
    stride=st.integers(1, 5), filters=st.integers(1, 6), channels=st.integers(1, 5),
    padding=st.integers(0, 4), dilation=st.integers(1, 3), depthwise=st.booleans(),
    time_major=st.booleans(), output=st.sampled_from(["int8", "int16"]), fill=fills,
)
def test_board_equals_reference(
    remote, seed, length, size, stride, filters, channels, padding, dilation, depthwise,
    time_major, output, fill,
):
    output = output if time_major else "int8"
    rng = np.random.default_rng(seed)
    padding = max(padding, dilation * (size - 1) + 1 - length)
    groups = channels if depthwise else 1
    filters *= groups
    dense = parameters(rng, fill, filters, size * channels // groups)
    dense.format = output
    x = int8(rng, fill, length, channels)
    geometry = Geometry(size, stride, channels, padding, dilation, groups)
    expected = Conv1D(dense, geometry, time_major)(x)
    for out in remote(
        RUN, x=x, size=size, stride=stride, filters=filters, channels=channels, padding=padding,
        dilation=dilation, groups=groups, time_major=time_major, output=output,
        weight=dense.weight, bias=dense.bias, mult=dense.mult, shift=dense.shift,
    ):
        assert (out == expected.ravel()).all()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride, padding, dilation", [(1, 0, 1), (2, 3, 2), (3, 1, 1)])
def test_the_float_form_is_torchs(groups, stride, padding, dilation):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4))
    weight, bias = rng.normal(size=(8, 5, 4 // groups)), rng.normal(size=8)
    entry = {"type": "conv1d", "name": "c", "length": 20, "kernel_size": 5, "stride": stride,
             "filters": 8, "channels": 4, "padding": padding, "dilation": dilation,
             "groups": groups}
    config = {"input": {"shape": [20, 4]}, "layers": [entry]}
    found = float_model.run(config, {"c.weight": weight, "c.bias": bias}, x)["c"]
    wanted = torch.nn.functional.conv1d(
        *map(torch.from_numpy, (x.T.copy()[None], weight.transpose(0, 2, 1).copy(), bias)),
        stride, padding, dilation, groups)
    assert np.abs(found - wanted[0].numpy().T).max() < 1e-12


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kernel_size": 9}, "c.kernel_size: expected at most 8 with this length, padding and "
                             "dilation, got 9"),
        ({"dilation": 2, "kernel_size": 5}, "c.kernel_size: expected at most 4 with this length, "
                                            "padding and dilation, got 5"),
        ({"groups": 2}, "c.groups: expected 1 or 4, as many as channels, got 2"),
        ({"groups": 4, "filters": 6}, "c.filters: expected a multiple of 4 groups, got 6"),
        ({"padding": -1}, "c.padding: expected a whole number from 0 to 32768, got -1"),
        ({"rounding": "nearest"}, "c.rounding: unknown where the format is int8; take it out"),
        ({"format": "Q8.8"}, "c.channels: unknown where the format is Q8.8; take it out"),
    ],
)
def test_bad_entries_are_refused_in_one_line(change, message):
    entry = {"type": "conv1d", "name": "c", "length": 8, "kernel_size": 3, "stride": 1,
             "filters": 4, "channels": 4, **change}
    with pytest.raises(ModelError) as caught:
        layers.get("conv1d").check(entry)
    assert str(caught.value) == message


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


@pytest.mark.parametrize("output", ["int8", "int16"])
@pytest.mark.parametrize("channels, padding, dilation, groups",
                         [(1, 0, 1, 1), (4, 2, 1, 1), (4, 0, 2, 4)])
def test_a_call_allocates_nothing(remote, channels, padding, dilation, groups, output):
    dense = parameters(np.random.default_rng(0), "random", 4, 5 * channels // groups)
    assert remote.needs_no_heap("layer(x)", """
from attn8 import Conv1D
from attn8.kernels import depthwise
from attn8.layers.dense import Linear
linear = Linear("conv", len(weight) // 4, 4, weight, bias, mult, shift, output,
                depthwise if groups > 1 else None)
layer = Conv1D(128, 5, 2, 4, linear, output == "int16", channels, padding, dilation, groups)
x = array("b", bytes(128 * channels))
""", weight=dense.weight, bias=dense.bias, mult=dense.mult, shift=dense.shift, channels=channels,
        padding=padding, dilation=dilation, groups=groups, output=output)


@pytest.mark.parametrize(
    "code, message",
    [
        ("Conv1D(4, 5, 1, 1, linear)", "kernel_size: expected 1 to 4, got 5"),
        ("Conv1D(9, 3, 1, 1, linear, False, 1, 0, 5)", "kernel_size: expected 1 to 2, got 3"),
        ("Conv1D(9, 3, 1, 1, linear, False, 1, -1)", "padding: expected 0 to 32768, got -1"),
        ("Conv1D(9, 3, 1, 1, Linear('conv', 3, 1, bytearray(3), array('i', [0]), "
         "array('h', [16384]), array('b', [20]), 'int16'))", "conv.output: int16 needs time_major"),
        ("Conv1D(9, 3, 1, 3, Linear('conv', 3, 3, bytearray(9), array('i', [0] * 3), "
         "array('h', [16384] * 3), array('b', [20] * 3)), False, 3, 0, 1, 3)",
         "conv: groups need a Linear of the form kernels.depthwise"),
        ("Conv1D(9, 3, 1, 3, linear, False, 4, 0, 1, 2)", "conv.groups: expected 1 or 4, got 2"),
        ("Conv1D(9, 3, 1, 3, linear, False, 2, 0, 1, 2)",
         "conv.filters: expected a multiple of 2 groups, got 3"),
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
