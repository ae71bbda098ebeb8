"""Training's kernels: their machine code for ESP32 and ESP32-C3 against the NumPy reference."""

import math
from array import array
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import isa
from attn8_host.isa.device import Device
from attn8_host.layers.max_pool import TrainableMaxPool, Windows
from attn8_host.layers.unfold import TrainableUnfold
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.rotary import SINE
from attn8_host.paths import DEVICE
from attn8_host.train import arithmetic as formats
from attn8_host.train.pointwise import norm_shape
from tests.test_kernels import shapes, sizes

machine_settings = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(["Q16.16", "Q24.8", "Q8.8"])
magnitudes = st.integers(0, 30)  # bits


def words(rng, f, bits, *shape):
    """Random words of up to `bits` bits, the format's extremes among them."""
    most = min(f.limit, (1 << bits) - 1)
    x = rng.integers(-most, most, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.1, rng.choice([-most, 0, most], shape), x)


@pytest.fixture(params=["viper", "turbo"])
def products(machines, request):
    """The family's module on an emulated board, in viper and in machine code."""
    return form_of(machines("fixed").arch, request.param)


@cache
def form_of(arch, backend):
    return Device(arch, backend).load("attn8.forms").choose("fixed_product")


@pytest.fixture(params=["viper", "turbo"])
def softmaxes(machines, request):
    return machines("turbo." * (request.param == "turbo") + "fixed_softmax")


@pytest.fixture(params=["viper", "turbo"])
def by_words(machines, request):
    return machines("turbo." * (request.param == "turbo") + "fixed_words")


class Call:
    """Places operands, calls a kernel, and checks that it wrote nothing around any of them."""

    def __init__(self, machine):
        self.machine = machine
        self.count = machine.buffer(np.zeros(1, np.int32))
        self.buffers = [self.count]

    def place(self, x):
        buffer = self.machine.buffer(x.astype(np.int32) if x.dtype == np.int64 else x)
        self.buffers.append(buffer)
        return buffer

    def __call__(self, name, *arguments):
        placed = [self.place(a) if isinstance(a, np.ndarray) else a for a in arguments]
        self.result = self.machine.call(name, *placed)
        for buffer in self.buffers:
            buffer.check_guards()
        return placed

    @property
    def overflows(self):
        return int(self.count.read(np.int32)[0])


def words_of(x):
    return array("i", np.asarray(x).ravel().tolist())


def product(form, f, a, b, onto, blocks=(4, 2), transposed=(False, False, False), offset=0):
    """a @ b.T or that added to `onto`, and what saturated, as the device has it; `transposed`: how
    a, b and the result lie, behind so many words."""
    (rows, inner), cols = a.shape, len(b)
    guard = 1
    while 8 << (guard - 1) < inner:
        guard += 1
    block, group = min(blocks[0], rows), min(blocks[1], cols)
    out = np.zeros((rows, cols), int) if onto is None else onto
    placed = [words_of([*range(offset), *(x.T if swapped else x).ravel()])
              for x, swapped in zip((a, b, out), transposed, strict=True)]
    strides = [(1, len(x)) if swapped else (x.shape[1], 1)
               for x, swapped in zip((a, b, out), transposed, strict=True)]
    shape = array("i", [rows, inner, *strides[2], guard, f.frac, f.limit, onto is not None, cols,
                        *strides[0], *strides[1], block, group])
    room = array("i", bytes(form.room(block, group, inner)))
    count, before = array("i", [0]), [bytes(x) for x in placed[:2]]
    form.matmul(placed[0], 0, placed[1], placed[2], offset, offset, offset, 0, shape, room, count)
    if block == rows:  # the first column alone, of a as it is packed
        again = words_of([*range(offset), *(out.T if transposed[2] else out).ravel()])
        shape[8] = shape[14] = 1
        form.matmul(words_of([1]), 0, placed[1], again, 0, offset, offset, 1, shape, room,
                     array("i", [0]))
        first = slice(offset, offset + rows if transposed[2] else None,
                      1 if transposed[2] else cols)
        assert again[first] == placed[2][first]
    assert [bytes(x) for x in placed[:2]] == before
    assert placed[2][:offset].tolist() == [*range(offset)]
    found = np.array(placed[2][offset:]).reshape(out.T.shape if transposed[2] else out.shape)
    return found.T if transposed[2] else found, count[0]


@machine_settings
@given(
    seed=seeds, name=names, shape=shapes(6, 6, 40), a_bits=magnitudes, b_bits=magnitudes,
    add=st.booleans(), blocks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    transposed=st.tuples(st.booleans(), st.booleans(), st.booleans()), offset=st.integers(0, 3),
)
@example(seed=0, name="Q16.16", shape=(1, 1, 2048), a_bits=30, b_bits=30, add=True, blocks=(1, 1),
         transposed=(False, False, False), offset=0)
@example(seed=0, name="Q16.16", shape=(2, 1, 8), a_bits=14, b_bits=14, add=False, blocks=(2, 1),
         transposed=(False, False, False), offset=0)
@example(seed=0, name="Q8.8", shape=(8, 16, 16), a_bits=15, b_bits=15, add=True, blocks=(8, 8),
         transposed=(True, True, False), offset=1)
def test_product(products, seed, name, shape, a_bits, b_bits, add, blocks, transposed, offset):
    rows, cols, inner = shape
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    a, b = words(rng, f, a_bits, rows, inner), words(rng, f, b_bits, cols, inner)
    onto = words(rng, f, 30, rows, cols) if add else None
    found, overflows = product(products, f, a, b, onto, blocks, transposed, offset)
    assert (found == f.product(a, b, onto)).all()
    assert overflows == f.overflows


@pytest.mark.parametrize("sign", [-1, 1])
def test_eight_largest_mantissas_fit_a_word(products, sign):
    # -16383 and 16382 are the largest that stay as they are
    f = formats.get("Q16.16")
    a, b = np.full((1, 8), -16383), np.full((1, 8), 16382 if sign < 0 else -16383)
    found, _ = product(products, f, a, b, None)
    assert found[0, 0] == round(8 * int(a[0, 0]) * int(b[0, 0]) / 65536)


@machine_settings
@given(seed=seeds, name=names, shape=shapes(9, 9), bits=magnitudes)
def test_sums(by_words, seed, name, shape, bits):
    rows, columns = shape
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    x, y = words(rng, f, bits, rows, columns), words(rng, f, bits, rows, columns)
    onto = words(rng, f, 30, columns)
    call = Call(by_words)
    _, _, out, *_ = call("column_sums", x, 0, onto, rows, columns, f.limit, call.count)
    assert (out.read(np.int32) == f.column_sums(x, onto)).all()
    for negate, operation in ((0, f.add), (-1, f.subtract)):
        out = call("add", x, y, np.zeros(x.size, np.int32), x.size, negate, f.limit, call.count)[2]
        assert (out.read(np.int32) == operation(x, y).ravel()).all()
    assert call.overflows == f.overflows
    _, out, *_ = call("spread", onto, np.zeros(x.size, np.int32), rows, columns)
    assert (out.read(np.int32).reshape(x.shape) == onto).all()
    out = call("relu", x, y, np.zeros(x.size, np.int32), x.size)[2]
    assert (out.read(np.int32) == np.where(y > 0, x, 0).ravel()).all()
    call("peak", x, 0, x.size)
    assert call.result == np.maximum(x, -1 - x).max()


@machine_settings
@given(seed=seeds, bits=magnitudes, mult=st.integers(0, 1 << 15), shift=st.integers(15, 45))
@example(seed=0, bits=30, mult=1 << 15, shift=15)
def test_scale(by_words, seed, bits, mult, shift):
    x = words(np.random.default_rng(seed), formats.get("Q16.16"), bits, 20)
    call = Call(by_words)
    out = call("scale", x, 0, np.zeros(20, np.int32), 20, mult, shift)[2]
    exact = [math.floor(int(v) * mult / 2**shift + 0.5) for v in x]
    assert (out.read(np.int32) == exact).all()
    assert (formats.multiply(x, mult, shift) == exact).all()


@machine_settings
@given(
    seed=seeds, name=names, rows=st.integers(1, 3), columns=sizes, bits=magnitudes,
    head_dim=st.sampled_from([1, 2, 4, 8, 64, 4096]),
)
@example(seed=0, name="Q16.16", rows=1, columns=512, bits=0, head_dim=1)
def test_softmax(softmaxes, seed, name, rows, columns, bits, head_dim):
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    scores, d = words(rng, f, bits, rows, columns), words(rng, f, bits, rows, columns)
    scale = f.softmax_scale(1, head_dim)
    mult, shift, limit, (back_mult, back_shift) = scale
    weights, total = f.softmax(scores, scale)
    call = Call(softmaxes)
    table = EXP2.astype(np.uint16)
    placed = call("softmax", scores, 0, np.zeros(scores.size, np.int32), 0, table, rows, columns,
                  mult, shift, f.up, limit)
    out = placed[2].read(np.int32)
    assert (out.reshape(rows, columns) == weights).all()
    assert call.result == total
    placed = call("softmax_backward", out, 0, 0, d, rows, columns, f.up, back_mult, back_shift,
                  f.limit, call.count)
    expected = f.softmax_backward(weights, d, scale)
    assert (placed[3].read(np.int32).reshape(rows, columns) == expected).all()
    assert call.overflows == f.overflows


@machine_settings
@given(name=names, total=st.integers(1 << 15, 1 << 24))
def test_log(machines, name, total):
    f = formats.get(name)
    call = Call(machines("fixed"))
    call("log", total, f.frac)
    assert call.result == f.log(total)
    assert abs(call.result / 2**f.frac - math.log(total / 2**15)) <= 1.5 * 2**-f.frac + 2**-13


@machine_settings
@given(seed=seeds, name=names, shape=shapes(5, 5), bits=magnitudes, add=st.booleans())
@example(seed=0, name="Q16.16", shape=(5, 5), bits=30, add=True)
def test_multiply(machines, seed, name, shape, bits, add):
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    x, y = words(rng, f, bits, *shape), words(rng, f, bits, shape[1])
    onto = words(rng, f, 30, *shape)
    call = Call(machines("fixed_pointwise"))
    placed = call("multiply", x, 0, y, onto, *shape, int(add), f.frac, f.limit, call.count)
    wanted = f.multiply(x, y, onto if add else None)
    assert (placed[3].read(np.int32).reshape(shape) == wanted).all()
    assert call.overflows == f.overflows


@machine_settings
@given(seed=seeds, name=names, bits=magnitudes, most=st.integers(1, 8))
def test_functions_of_one_value(machines, seed, name, bits, most):
    f = formats.get(name)
    x = words(np.random.default_rng(seed), f, bits, 40)
    call, table, out = Call(machines("fixed_pointwise")), EXP2.astype(np.uint16), np.zeros(40, int)
    found = call("within", x, 0, out, 40, most << f.frac)[2]
    assert (found.read(np.int32) == f.within(x, most)).all()
    for kernel, flag, function in (("sigmoid", 0, f.sigmoid), ("sigmoid", 1, f.tanh),
                                   ("normal", 0, f.normal), ("normal", 1, f.density)):
        found = call(kernel, x, 0, out, table, 40, flag, f.frac)[2]
        assert (found.read(np.int32) == function(x)).all(), function


@pytest.mark.parametrize("name, bound", [("sigmoid", 2**-15), ("tanh", 2**-14),
                                         ("normal", 2**-14), ("density", 2**-14)])
def test_functions_are_near_the_exact_ones(name, bound):
    fixed, exact = formats.get("Q16.16"), formats.get("float64")
    x = np.arange(-20, 20, 1 / 512)
    found = fixed.floats(getattr(fixed, name)(fixed.array(x)))
    assert np.abs(found - getattr(exact, name)(x)).max() <= bound


@machine_settings
@given(seed=seeds, name=names, shape=shapes(3, 20), bits=magnitudes,
       eps=st.sampled_from([(0, 0), (21475, 31), (8192, 20)]))
@example(seed=0, name="Q16.16", shape=(2, 1), bits=30, eps=(0, 0))
@example(seed=0, name="Q16.16", shape=(1, 4096), bits=30, eps=(21475, 31))
@example(seed=0, name="Q16.16", shape=(3, 24), bits=16, eps=(21475, 31))
def test_norm(machines, seed, name, shape, bits, eps):
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    rows, n = shape
    x, d = words(rng, f, bits, *shape), words(rng, f, bits, *shape)
    x[0] *= rng.integers(2)  # a row of zeros
    call = Call(machines("fixed_norm"))
    found = call("centre", x, 0, np.zeros(x.size, int), rows, n, f.limit, call.count)[2]
    assert (found.read(np.int32).reshape(shape) == f.centre(x)).all()
    z, (factor, q) = f.normalize(x, eps)
    placed = call("normalize", x, 0, np.zeros(x.size, int), rows, n,
                  np.array(norm_shape(n, eps, f.frac)), np.zeros(rows, int))
    assert (placed[2].read(np.int32).reshape(shape) == z).all()
    factors = placed[6].read(np.int32)
    assert (factors & 65535 == factor.ravel()).all() and (factors >> 16 == q.ravel() + 64).all()
    found = call("project", d, 0, z, rows, n, f.frac, f.limit, call.count)[0]
    assert (found.read(np.int32).reshape(shape) == f.project(d, z)).all()
    found = call("stretch", d, 0, factors.astype(int), rows, n, f.limit, call.count)[0]
    assert (found.read(np.int32).reshape(shape) == f.stretch(d, (factor, q))).all()
    assert call.overflows == f.overflows


@pytest.mark.parametrize("features", [2, 32, 4096])
def test_norms_are_near_the_exact_ones(features):
    fixed, exact = formats.get("Q16.16"), formats.get("float64")
    rng = np.random.default_rng(features)
    x = rng.normal(size=(20, features)) * 2.0 ** rng.integers(-9, 10, (20, 1))
    found, _ = fixed.normalize(fixed.array(x), (21475, 31))
    wanted, _ = exact.normalize(fixed.floats(fixed.array(x)), (21475, 31))
    assert (np.abs(fixed.floats(found) - wanted).max(axis=1)
            <= 2**-13 * np.abs(wanted).max(axis=1) + 2**-16).all()


@machine_settings
@given(seed=seeds, shape=shapes(6, 9), first=st.integers(0, 9), length=st.integers(1, 9))
def test_hide(machines, seed, shape, first, length):
    f = formats.get("Q16.16")
    scores, (rows, columns) = words(np.random.default_rng(seed), f, 20, *shape), shape
    call = Call(machines("fixed"))
    found = call("hide", scores, rows, columns, length, first, -f.limit)[0]
    keys = np.arange(columns)
    hidden = (keys >= length) | (keys > first + np.arange(rows)[:, None])
    assert (found.read(np.int32).reshape(shape) == f.hide(scores, hidden)).all()


@machine_settings
@given(seed=seeds, shape=shapes(6, 19), first=st.integers(0, 9), length=st.integers(1, 19))
def test_mask(machines, seed, shape, first, length):
    """From a place in x on, and from a row of the mask on."""
    rng, (rows, columns) = np.random.default_rng(seed), shape
    x, shown = rng.integers(-99, 99, 3 + rows * columns), rng.random((first + rows, columns)) < 0.5
    bits = np.packbits(shown, axis=1, bitorder="little")
    found = Call(machines("fixed_mask"))("mask", x, 3, rows, columns, bits, first, length, -77)[0]
    seen = shown[first:] & (np.arange(columns) < length)
    wanted = np.concatenate([x[:3], np.where(seen, x[3:].reshape(shape), -77).ravel()])
    assert (found.read(np.int32) == wanted).all()


@machine_settings
@given(seed=seeds, name=names, bits=magnitudes)
@example(seed=0, name="Q16.16", bits=1)
def test_what_linear_attention_needs(machines, seed, name, bits):
    f, table = formats.get(name), EXP2.astype(np.uint16)
    x, call = words(np.random.default_rng(seed), f, bits, 40), Call(machines("fixed_linear"))
    found = call("elu_plus_one", x, 0, np.zeros(40, int), table, 40, f.frac, f.limit,
                 call.count)[2]
    assert (found.read(np.int32) == f.elu_plus_one(x)).all() and call.overflows == f.overflows
    found = call("reciprocals", x, 0, np.zeros(40, int), 40, f.frac)[2].read(np.int32)
    factor, q = f.reciprocals(x)
    assert (found & 65535 == factor.ravel()).all() and (found >> 16 == q.ravel() + 64).all()
    found = call("blank", x, 7, 38)[0].read(np.int32)
    assert (found == np.where((np.arange(40) >= 7) & (np.arange(40) < 38), 0, x)).all()


def test_what_linear_attention_needs_is_near_the_exact():
    fixed, exact = formats.get("Q16.16"), formats.get("float64")
    x = np.arange(-20, 20, 1 / 512)
    found = fixed.floats(fixed.elu_plus_one(fixed.array(x)))
    assert np.abs(found - exact.elu_plus_one(x)).max() <= 2**-15
    x = 2.0 ** np.linspace(-14, 13.9, 999)
    one = fixed.stretch(fixed.array(x)[:, None], fixed.reciprocals(fixed.array(x)))
    assert np.abs(fixed.floats(one) - 1).max() <= 2**-14


@machine_settings
@given(seed=seeds, name=names, bits=magnitudes)
def test_what_functions_by_name_need(machines, seed, name, bits):
    f, rng = formats.get(name), np.random.default_rng(seed)
    x, call = words(rng, f, bits, 40), Call(machines("fixed_pieces"))
    c = words(rng, f, bits, 5)
    c[:2].sort()
    x[:2] = c[:2]  # the ends
    found = call("clamp", x, 0, np.zeros(40, int), 40, int(c[0]), int(c[1]))[2]
    assert (found.read(np.int32) == np.clip(x, c[0], c[1])).all()
    found = call("steps", x, 0, c, np.zeros(40, int), 40)[3]
    assert (found.read(np.int32) == f.steps(x, *c)).all()
    found = call("softplus", x, 0, np.zeros(40, int), EXP2.astype(np.uint16), 40, f.frac)[2]
    assert (found.read(np.int32) == f.softplus(x)).all()


@machine_settings
@given(seed=seeds, name=names, bits=magnitudes, size=st.integers(1, 4), stride=st.integers(1, 3),
       channels=st.integers(1, 3), padding=st.integers(0, 3))
@example(seed=0, name="Q16.16", bits=1, size=3, stride=1, channels=2, padding=1)
@example(seed=0, name="Q16.16", bits=30, size=3, stride=1, channels=2, padding=1)
def test_windows(machines, seed, name, bits, size, stride, channels, padding):
    """Behind two words, with equal values among them."""
    f, rng, length = formats.get(name), np.random.default_rng(seed), 7
    padding = min(padding, size - 1)
    seen = Windows(length, size, stride, int(rng.integers(1, (length + padding - 1) // stride + 2)),
                   padding)
    seen.check("windows")
    layer = TrainableMaxPool(f, (1, length, channels), seen)
    x, grad = words(rng, f, bits, length * channels), words(rng, f, bits, seen.positions * channels)
    call, behind = Call(machines("fixed_windows")), np.zeros(2, int)
    sizes = seen.positions, size, channels, stride, -padding, length
    given, out = np.concatenate([behind, x]), np.zeros(len(grad) + 2, int)
    wanted = np.concatenate([behind, layer(x).ravel()])
    found = call("largest", given, 0, out, 2, 2, *sizes)[2]
    assert (found.read(np.int32) == wanted).all()
    wanted = np.concatenate([behind, layer.backward(grad).ravel()])
    found = call("back", given, 0, np.concatenate([behind, grad]), np.zeros(len(given), int), 2, 2,
                 *sizes, f.limit, call.count)[3]
    assert (found.read(np.int32) == wanted).all() and call.overflows == f.overflows
    layer = TrainableUnfold(f, (1, length, channels), (Windows(1, 1, 1, 1), seen))
    layer(x)
    grad = words(rng, f, bits, seen.positions * size * channels)
    wanted = np.concatenate([behind, layer.backward(grad).ravel()])
    found = call("fold", np.concatenate([behind, grad]), 0, np.zeros(len(given), int), 2, 2,
                 seen.positions, size, channels, size * channels, stride, -padding, length, f.limit,
                 call.count)[2]
    assert (found.read(np.int32) == wanted).all() and call.overflows == f.overflows


def test_softplus_is_near_the_exact_one():
    fixed, exact = formats.get("Q16.16"), formats.get("float64")
    x = np.arange(-20, 20, 1 / 512)
    assert np.abs(fixed.floats(fixed.softplus(fixed.array(x))) - exact.softplus(x)).max() <= 2**-13


@machine_settings
@given(seed=seeds, name=names, heads=st.integers(1, 3), pairs=st.integers(1, 4), bits=magnitudes,
       back=st.booleans())
@example(seed=0, name="Q16.16", heads=2, pairs=2, bits=30, back=True)
def test_what_grouped_attention_needs(machines, seed, name, heads, pairs, bits, back):
    f, rng, rows = formats.get(name), np.random.default_rng(seed), 5
    x = words(rng, f, bits, rows, heads, 2 * pairs)
    turns = rng.integers(-(2**31), 2**31, pairs)
    call = Call(machines("fixed_rotary"))
    found = call("rotate", x.ravel(), 0, turns.astype(np.int32), SINE.astype(np.uint16), rows,
                 heads, 2 * pairs, int(back), f.limit, call.count)[0]
    assert (found.read(np.int32) == f.rotate(x, turns, back).ravel()).all()
    assert call.overflows == f.overflows
    columns = x.reshape(rows, -1)
    low, high = (words(rng, f, bits, columns.shape[1]) for _ in range(2))
    placed = call("bounds", x.ravel(), 0, low, high, *columns.shape)
    for found, wanted in ((placed[2], np.minimum(low, columns.min(axis=0))),
                          (placed[3], np.maximum(high, columns.max(axis=0)))):
        assert (found.read(np.int32) == wanted).all()


@machine_settings
@given(seed=seeds, name=names, n=sizes, bits=magnitudes,
       momentum=st.one_of(st.just(0), st.floats(1e-4, 1)), lr=st.floats(1e-4, 1))
@example(seed=0, name="Q16.16", n=20, bits=30, momentum=1.0, lr=1.0)
def test_sgd(by_words, seed, name, n, bits, momentum, lr):
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    value, grad, velocity = (words(rng, f, bits, n) for _ in range(3))
    lr, decay = formats.ratio(lr), formats.ratio(momentum) if momentum else None
    param = SimpleNamespace(value=value, grad=grad)
    expected = f.sgd(param, velocity, decay, lr, formats.ONE)
    call = Call(by_words)
    placed = call("sgd", value, 0, grad, velocity, n, *(decay or (0, 15)), *lr, f.limit,
                  call.count)
    assert (placed[0].read(np.int32) == param.value).all()
    assert (placed[3].read(np.int32) == expected).all()
    assert not placed[2].read(np.int32).any()
    assert call.overflows == f.overflows


@machine_settings
@given(seed=seeds, name=names, n=sizes, bits=magnitudes, steps=st.integers(1, 5))
def test_adam(machines, seed, name, n, bits, steps):
    rng = np.random.default_rng(seed)
    f = formats.get(name)
    lr = formats.ratio(0.01)
    constants = f.adam_constants((29491, 15), (32735, 15), lr, formats.ratio(0.001))
    rate1, rate2, eps = constants
    packed = np.array([*rate1, *rate2, lr[0], lr[1] - f.frac + 12, eps], np.int32)
    value, first, second = words(rng, f, bits, n), np.zeros(n, int), np.zeros(n, int)
    call = Call(machines("fixed_optimizers"))
    for _ in range(steps):
        grad = words(rng, f, bits, n)
        param = SimpleNamespace(value=value, grad=grad)
        expected = f.adam(param, first, second, constants, lr, formats.ONE)
        placed = call("adam", value, 0, grad, first, second, n, f.up, packed, f.limit, call.count)
        value, first, second = (placed[i].read(np.int32).astype(int) for i in (0, 3, 4))
        assert (value == param.value).all()
        assert (first == expected[0]).all()
        assert (second == expected[1]).all()
        assert not placed[2].read(np.int32).any()
    assert call.overflows == f.overflows


@machine_settings
@given(x=st.integers(0, 2**31 - 1))
def test_root(machines, x):
    call = Call(machines("fixed_optimizers"))
    call("root", x)
    assert call.result == math.isqrt(x)


@machine_settings
@given(seed=seeds, n=st.integers(1, 50), bits=st.integers(0, 12))
def test_squares(by_words, seed, n, bits):
    values = words(np.random.default_rng(seed), formats.get("Q16.16"), 11 + bits, n)
    call = Call(by_words)
    call("squares", values, 0, n, bits)
    assert call.result == ((values >> bits) ** 2).sum()


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize(
    "name", ["kernels/fixed", "kernels/fixed_linear", "kernels/fixed_mask", "kernels/fixed_norm",
             "kernels/fixed_optimizers", "kernels/fixed_pieces", "kernels/fixed_pointwise",
             "kernels/fixed_rotary", "kernels/fixed_windows", "forms/viper/fixed_product",
             "forms/viper/fixed_softmax", "forms/viper/fixed_words"]
)
def test_functions_stay_below_what_old_compilers_get_wrong(arch, name):
    machine = isa.load(DEVICE / "attn8" / f"{name}.py", arch)
    assert max(machine.functions.values()) < 2048, machine.functions
