"""SelfAttention1D and its number formats: the kernels and the board against the reference."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host.layers.self_attention_1d import SelfAttention1D
from attn8_host.numerics.formats import FIXED, Format
from tests.test_kernels import Call, alignment, machine_settings, shapes

RUN = """
from attn8 import SelfAttention1D
layer = SelfAttention1D(n, d, p, *format)
layer.weights[:] = weights
layer.biases[:] = biases
give(layer(x))
for values in (layer.q, layer.k, layer.v, layer.kv): give(values)
"""

formats = st.builds(
    Format, st.sampled_from(sorted(FIXED)), st.sampled_from(["nearest", "truncate"]),
    st.sampled_from(["wrap", "saturate"]),
)  # fmt: skip
sizes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 5))


def values(rng, form, scale, *shape):
    """Values of the format: normal numbers, or where scale is 0 anything, extremes included."""
    if scale and form.name == "float":
        return rng.normal(0, scale, shape).astype(np.float32)
    bits, frac = FIXED[form.name]
    most = 2 ** (bits - 1)
    if scale:
        return form.encode(np.clip(rng.normal(0, scale, shape), -most / 2**frac, 100))
    some = rng.integers(-most, most, shape)
    ends = rng.choice(np.array([-most, -most + 1, -1, 0, 1, 2**frac, most - 1]), shape)
    return np.where(rng.random(shape) < 0.5, some, ends).astype(form.dtype)


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), form=formats, sizes=shapes(6, 7, 5),
    scale=st.sampled_from([0, 1, 20]),
    relu=st.booleans(), offset=alignment,
)
def test_machine_code(machines, seed, form, sizes, scale, relu, offset):
    rows, inner, columns = sizes
    rng = np.random.default_rng(seed)
    a = values(rng, form, scale, inner, rows)
    b, bias = values(rng, form, scale, columns, inner), values(rng, form, scale, columns)
    expected = form.matmul(a.T, b.T, bias, relu).T  # all transposed: no stride is 1 by chance
    bits, frac = FIXED[form.name]
    steps = np.array([1, rows, 1, inner, 1, 1, rows]) * (bits // 8)
    half = (1 << frac) >> 1 if form.rounding == "nearest" else 0
    plan = [rows, inner, columns, *steps, frac, half, int(form.overflow == "saturate"), int(relu)]
    call = Call(machines("qformat"), offset)
    *_, out, _ = call(
        f"matmul{bits}", a, 0, b, bias, np.zeros((columns, rows), form.dtype),
        np.array(plan, np.int32),
    )
    assert (out.read(form.dtype) == expected.ravel()).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), form=formats, sizes=sizes, scale=st.sampled_from([0, 0.3, 2]),
)
@example(seed=0, form=Format("Q16.16"), sizes=(32, 16, 8), scale=0.3)
@example(seed=0, form=Format("Q8.8"), sizes=(16, 8, 4), scale=0.3)
def test_board_equals_reference(remote, seed, form, sizes, scale):
    check_board(remote, np.random.default_rng(seed), form, sizes, scale)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=sizes)
def test_board_equals_reference_in_floats(remote, precision, seed, sizes):
    check_board(remote, np.random.default_rng(seed), Format("float", precision=precision), sizes, 1)


@pytest.fixture(scope="module")
def precision(remote):
    """The type of the board's own floats."""
    return np.float64 if remote("give(int(1.0 + 2.0**-30 != 1.0))") else np.float32


def check_board(remote, rng, form, sizes, scale):
    """Every tensor of one call."""
    n, d, p = sizes
    weights, biases = values(rng, form, scale, 3, d, p), values(rng, form, scale, 3, p)
    x = values(rng, form, scale, n, d)
    reference = SelfAttention1D(weights, biases, form)
    out = reference(x)
    found = remote(
        RUN, n=n, d=d, p=p, format=(form.name, form.rounding, form.overflow),
        weights=weights, biases=biases, x=x,
    )
    assert (found[0] == out.ravel()).all()
    for name, got in zip(("q", "k", "v", "kv"), found[1:], strict=True):
        assert (got == reference.outputs[name].ravel()).all(), name


@pytest.mark.parametrize("name", ["float", "Q16.16"])
def test_published_example(remote, name):
    # Identity projections, X = 1..8 as 4x2: out = X (X^T X), exactly
    out, first = remote("""
from attn8 import SelfAttention1D
layer = SelfAttention1D(4, 2, 2, name)
for projection in range(3):
    layer.set_projection_weight(projection, 0, 0, 1.0)
    layer.set_projection_weight(projection, 0, 1, 0.0)
    layer.set_projection_weight(projection, 1, 0, 0)
    layer.set_projection_weight(projection, 1, 1, 1)
x = layer.format.zeros(8)
for i in range(8):
    x[i] = layer.format.encode("x", i + 1)
give([layer.format.decode(value) for value in layer(x)])
give([layer.get_weight(i) for i in range(12)])
""", name=name)
    x = np.arange(1.0, 9).reshape(4, 2)
    assert out == (x @ (x.T @ x)).ravel().tolist()
    assert first == [1, 0, 0, 1] * 3
    form = Format(name)
    eye = form.encode(np.stack([np.eye(2)] * 3))
    reference = SelfAttention1D(eye, form.encode(np.zeros((3, 2))), form)
    assert (form.decode(reference(form.encode(x))) == x @ (x.T @ x)).all()


def test_weights_by_projection_and_by_flat_index(remote):
    flat, biases, read = remote("""
from attn8 import SelfAttention1D
layer = SelfAttention1D(2, 3, 2, "Q24.8")
layer.set_projection_weight(2, 1, 0, -1.5)
layer.set_weight(0, 2)
layer.set_projection_bias(1, 1, 0.25)
layer.set_bias(0, -3)
give(layer.weights)
give(layer.biases)
give([layer.get_projection_weight(2, 1, 0), layer.get_weight(14), layer.get_bias(3)])
""")
    assert flat[14] == -384 and flat[0] == 512 and np.count_nonzero(flat) == 2
    assert biases.tolist() == [-768, 0, 0, 64, 0, 0]
    assert read == [-1.5, -1.5, 0.25]


def test_fixed_point_is_close_to_real_numbers():
    rng = np.random.default_rng(3)
    weights, biases = rng.normal(0, 0.4, (3, 16, 8)), rng.normal(0, 0.1, (3, 8))
    x = rng.normal(0, 1, (32, 16))
    q, k = (np.maximum(x @ weights[i] + biases[i], 0) for i in range(2))
    exact = q @ (k.T @ (x @ weights[2] + biases[2]))
    for name, limit in (("Q16.16", 0.01), ("Q24.8", 2.0)):
        form = Format(name)
        layer = SelfAttention1D(form.encode(weights), form.encode(biases), form)
        assert np.abs(form.decode(layer(form.encode(x))) - exact).max() < limit, name


def test_overflow_wraps_or_saturates():
    big = np.array([[100 * 256]], np.int16)  # 100 in Q8.8
    assert Format("Q8.8").matmul(big, big).item() == 10000 * 256 % 65536
    assert Format("Q8.8", overflow="saturate").matmul(big, big).item() == 32767
    assert Format("Q8.8", overflow="saturate").matmul(big, -big).item() == -32768


def test_a_call_in_fixed_point_allocates_nothing(remote):
    assert remote.needs_no_heap("short(x)\nlong(y)", """
from attn8 import SelfAttention1D
short, long = [SelfAttention1D(4, 3, 2, name) for name in ("Q8.8", "Q16.16")]
x, y = short.format.zeros(12), long.format.zeros(12)
""")


@pytest.mark.parametrize(
    "code, message",
    [
        ("SelfAttention1D(4, 2, 2, 'Q4.4')",
         "format: expected one of Q16.16, Q24.8, Q8.8, float, got Q4.4"),
        ("SelfAttention1D(4, 2, 2, 'Q8.8', 'up')",
         "rounding: expected one of nearest, truncate, got up"),
        ("SelfAttention1D(4, 2, 2, 'Q8.8', 'nearest', 'trap')",
         "overflow: expected one of saturate, wrap, got trap"),
        ("SelfAttention1D(0, 2, 2)", "seq_len: expected 1 to 32768, got 0"),
        ("layer(array('i', [0] * 7))", "x: expected 8 values, got 7"),
        ("layer(array('h', [0] * 8))", "x: expected array('i'), got array of 'h'"),
        ("layer([0] * 8)", "x: expected array('i'), got list"),
        ("layer.set_projection_weight(3, 0, 0, 1)", "projection: expected 0 to 2, got 3"),
        ("layer.set_projection_weight(0, 2, 0, 1)", "row: expected 0 to 1, got 2"),
        ("layer.set_weight(12, 1)", "index: expected 0 to 11, got 12"),
        ("layer.set_weight(0, 32768)", "weight: expected a number of Q16.16, got 32768"),
        ("layer.set_bias(0, -40000.5)", "bias: expected a number of Q16.16, got -40000.5"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    setup = "from attn8 import SelfAttention1D\nlayer = SelfAttention1D(4, 2, 2)"
    assert remote.refused(code, setup) == message
