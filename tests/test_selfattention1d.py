"""SelfAttention1D and its number formats: the kernels and the board against the reference."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host.layers.self_attention_1d import SelfAttention1D
from attn8_host.numerics.formats import FIXED, FLOATS, Format
from tests.test_kernels import Call, alignment, machine_settings, shapes

RUN = """
from attn8 import SelfAttention1D
layer = SelfAttention1D(n, d, p, *format)
layer.weights[:] = weights
layer.biases[:] = biases
give(layer(x))
for values in (layer.q, layer.k, layer.v, layer.kv): give(values)
layer.compute_gradients(deltas)
for i in range(len(weights)): gradients[i] = layer.get_gradient(i)
for i in range(len(biases)): bias_gradients[i] = layer.get_bias_gradient(i)
give(gradients)
give(bias_gradients)
layer.update_weights(rate)
give(layer.weights)
give(layer.biases)
"""

formats = st.builds(
    Format, st.sampled_from(sorted(FIXED)), st.sampled_from(["nearest", "truncate"]),
    st.sampled_from(["wrap", "saturate"]),
)  # fmt: skip
sizes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 5))


def values(rng, form, scale, *shape):
    """Values of the format: normal numbers, or where scale is 0 anything, extremes included."""
    if form.name in FLOATS:
        return rng.normal(0, scale, shape).astype(form.dtype)
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
@given(seed=st.integers(0, 2**32 - 1), sizes=sizes, name=st.sampled_from(["float", "double"]))
def test_board_equals_reference_in_floats(remote, seed, sizes, name):
    check_board(remote, np.random.default_rng(seed), Format(name), sizes, 1)


def check_board(remote, rng, form, sizes, scale):
    """Every tensor of one call, every gradient, and the weights after an update."""
    n, d, p = sizes
    weights, biases = values(rng, form, scale, 3, d, p), values(rng, form, scale, 3, p)
    x, deltas = values(rng, form, scale, n, d), values(rng, form, scale, n, p)
    rate = float(rng.choice([-0.01, 0.5, -3]))
    reference = SelfAttention1D(weights, biases, form)
    expected = [reference(x), *reference.outputs.values()]
    reference.compute_gradients(deltas)
    reference.update_weights(rate)
    expected += [form.decode(reference.gradients), form.decode(reference.bias_gradients),
                 reference.weights, reference.biases]
    found = remote(
        RUN, n=n, d=d, p=p, format=(form.name, form.rounding, form.overflow),
        weights=weights, biases=biases, x=x, deltas=deltas, rate=rate,
        gradients=np.zeros(3 * d * p), bias_gradients=np.zeros(3 * p),
    )
    names = ("out", "q", "k", "v", "kv", "gradients", "bias gradients", "weights", "biases")
    for name, got, want in zip(names, found, expected, strict=True):
        assert got.tobytes() == want.tobytes(), name


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([16, 32]), size=st.integers(1, 130),
       offset=alignment)
def test_gate_in_machine_code(machines, seed, bits, size, offset):
    rng = np.random.default_rng(seed)
    form = Format("Q8.8" if bits == 16 else "Q16.16")
    x, gate = values(rng, form, 0, size), values(rng, form, 0, size)
    gate[rng.random(size) < 0.3] = 0
    found, kept = Call(machines("gate"), offset)(f"gate{bits}", x, gate, size)[:2]
    assert (found.read(form.dtype) == np.where(gate > 0, x, 0)).all()
    assert (kept.read(form.dtype) == gate).all()


EXAMPLE = """
from attn8 import SelfAttention1D
layer = SelfAttention1D(4, 2, 2, name)
for projection in range(3):
    layer.set_projection_weight(projection, 0, 0, 1.0)
    layer.set_projection_weight(projection, 1, 1, 1.0)
x, out, deltas = layer.format.zeros(8), layer.format.zeros(8), layer.format.zeros(8)
for i in range(8):
    x[i] = layer.format.encode("x", i + 1)
    deltas[i] = layer.format.encode("delta", 1)
"""


@pytest.mark.parametrize("name", ["Q16.16", "Q24.8", "float", "double"])
def test_published_training_step(remote, name):
    """compute_gradients and update_weights(-0.01): with identity projections of 1 to 8 and deltas
    of 1 all gradients are whole numbers."""
    out, found, biases, weights = remote(EXAMPLE + """
layer.forward(x, out)
give([layer.format.decode(value) for value in out])
layer.compute_gradients(deltas)
give([layer.get_gradient(i) for i in range(layer.total_weights)])
give([layer.get_bias_gradient(i) for i in range(layer.total_biases)])
layer.update_weights(-0.01)
give([layer.get_weight(i) for i in range(layer.total_weights)])
""", name=name)
    x, ones = np.arange(1.0, 9).reshape(4, 2), np.ones((4, 2))
    kv = dkv = x.T @ ones  # of x @ (x.T @ x): d/dq, d/dk, d/dv
    parts = ones @ (x.T @ x).T, x @ dkv.T, x @ dkv
    assert out == (x @ (x.T @ x)).ravel().tolist()
    wanted = np.stack([x.T @ part for part in parts]).ravel()
    assert found == wanted.tolist()
    assert wanted[:4].tolist() == [2944, 3520, 3680, 4400] and kv.tolist() == [[16] * 2, [20] * 2]
    assert biases == np.stack([part.sum(axis=0) for part in parts]).ravel().tolist()
    # -0.01 is -655 / 2**16 in Q16.16, -3 / 2**8 in Q24.8
    rate = {"Q16.16": -655 / 2**16, "Q24.8": -3 / 2**8, "float": np.float32(-0.01)}
    form = Format(name)
    dtype = form.dtype if name in FLOATS else np.float64
    identity, wanted = (each.astype(dtype) for each in (np.stack([np.eye(2)] * 3).ravel(), wanted))
    assert weights == (identity + dtype(rate.get(name, -0.01)) * wanted).tolist()


def test_gradients_are_those_of_the_loss():
    """In doubles, against central differences of sum(out * deltas)."""
    rng = np.random.default_rng(7)
    form = Format("double")
    layer = SelfAttention1D(rng.normal(size=(3, 3, 2)), rng.normal(size=(3, 2)), form)
    x, deltas = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    layer(x)
    layer.compute_gradients(deltas)
    for values, found in ((layer.weights, layer.gradients), (layer.biases, layer.bias_gradients)):
        for i in np.ndindex(values.shape):
            losses = []
            for step in (1e-6, -2e-6, 1e-6):
                values[i] += step
                losses.append((layer(x) * deltas).sum())
            assert found[i] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_a_teacher_is_learned(remote):
    """Steps of the published form on the board bring the error down, in Q16.16."""
    rng = np.random.default_rng(11)
    form = Format("Q16.16")
    teacher = SelfAttention1D(form.encode(rng.normal(0, 0.5, (3, 3, 2))),
                              form.encode(rng.normal(0, 0.2, (3, 2))), form)
    x = form.encode(rng.normal(0, 0.7, (6, 3)))
    first, last = remote("""
from attn8 import SelfAttention1D
layer = SelfAttention1D(6, 3, 2)
layer.weights[:] = weights
deltas = layer.format.zeros(12)
def step():
    loss = 0.0
    for i, (y, t) in enumerate(zip(layer(x), target)):
        deltas[i] = y - t
        loss += (deltas[i] / 65536) ** 2
    layer.compute_gradients(deltas)
    layer.update_weights(-0.01)
    return loss
losses = [step() for _ in range(200)]
give(int(losses[0] * 1000000))
give(int(losses[-1] * 1000000))
""", x=x, target=teacher(x).ravel(), weights=form.encode(rng.normal(0, 0.5, 18)))
    assert last < first / 10


@pytest.mark.parametrize("name, small, large", [
    ("Q8.8", (16, 8, 16), (32, 24, 16)), ("Q16.16", (32, 16, 8), (64, 32, 16)),
    ("double", (16, 8, 4), (32, 16, 8)),
])  # fmt: skip
def test_published_memory(remote, name, small, large):
    """6DP + 6P + ND + 4NP + P**2 values, forwards and backwards, by the board's own heap.

    Of sizes that fill whole blocks of the heap, so that what the objects around them take is the
    same. The heap is measured while no program runs (see test_memory).
    """
    remote.board.enter_repl()
    remote(f"""
from attn8 import SelfAttention1D
def train(n, d, p):
    layer = SelfAttention1D(n, d, p, {name!r})
    deltas = layer.format.zeros(n * p)
    layer(layer.x)
    layer.compute_gradients(deltas)
    return layer
layer = train(1, 1, 1)
layer = None
""")
    empty = remote.board.used_heap()
    objects = []
    for n, d, p in (small, large):
        remote(f"layer = train({n}, {d}, {p})")
        words = 6 * d * p + 6 * p + n * d + 4 * n * p + p * p
        taken = remote.board.used_heap() - empty
        objects.append(taken - words * Format(name).dtype().itemsize)
        remote("layer = None")
    assert objects[0] == objects[1] < 4096


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
    flat, biases, read, sizes = remote("""
from attn8 import SelfAttention1D
layer = SelfAttention1D(2, 3, 2, "Q24.8")
layer.set_projection_weight(2, 1, 0, -1.5)
layer.set_weight(0, 2)
layer.set_projection_bias(1, 1, 0.25)
layer.set_bias(0, -3)
give(layer.weights)
give(layer.biases)
give([layer.get_projection_weight(2, 1, 0), layer.get_weight(14), layer.get_bias(3),
      layer.get_projection_bias(1, 1), layer.get_projection_bias(0, 0)])
give([layer.input_size, layer.output_size, layer.weights_per_projection, layer.total_weights,
      layer.total_biases])
""")
    assert flat[14] == -384 and flat[0] == 512 and np.count_nonzero(flat) == 2
    assert biases.tolist() == [-768, 0, 0, 64, 0, 0]
    assert read == [-1.5, -1.5, 0.25, 0.25, -3]
    assert sizes == [6, 4, 6, 18, 6]


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
    assert remote.needs_no_heap("""
short(x)
long.forward(y, out)
short.compute_gradients(deltas)
""", """
from attn8 import SelfAttention1D
short, long = [SelfAttention1D(4, 3, 2, name) for name in ("Q8.8", "Q16.16")]
x, y = short.format.zeros(12), long.format.zeros(12)
deltas, out = short.format.zeros(8), long.format.zeros(8)
""")


@pytest.mark.parametrize(
    "code, message",
    [
        ("SelfAttention1D(4, 2, 2, 'Q4.4')",
         "format: expected one of Q16.16, Q24.8, Q8.8, double, float, got Q4.4"),
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
        ("layer.set_projection_bias(1, 2, 1)", "column: expected 0 to 1, got 2"),
        ("layer.get_projection_bias(-1, 0)", "projection: expected 0 to 2, got -1"),
        ("layer.forward(layer.x, array('i', [0] * 7))", "out: expected 8 values, got 7"),
        ("layer.forward(layer.x, bytes(32))",
         "out: expected array('i'), got bytes"),
        ("layer.get_gradient(0)", "gradients: there are none before compute_gradients"),
        ("layer.update_weights(-0.01)", "gradients: there are none before compute_gradients"),
        ("layer.compute_gradients(layer.out)",
         "compute_gradients: call the layer before, once for each"),
        ("layer(layer.x)\nlayer.compute_gradients(layer.out)",
         "deltas: expected memory apart from out"),
        ("layer(layer.x)\nlayer.compute_gradients(array('i', [0] * 7))",
         "deltas: expected 8 values, got 7"),
        ("layer(layer.x)\nlayer.compute_gradients(layer.weights[:8])\nlayer.update_weights('a')",
         "rate: expected a number, got str"),
        ("layer.set_bias(0, -40000.5)", "bias: expected a number of Q16.16, got -40000.5"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    setup = "from attn8 import SelfAttention1D\nlayer = SelfAttention1D(4, 2, 2)"
    assert remote.refused(code, setup) == message
