"""The kernels of the int16 stream as machine code of both chips, against the NumPy reference.

As in test_kernels: operands at every alignment, canaries around every buffer, extreme values.
"""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host.layers.add import Add
from attn8_host.layers.convert import Requantize
from attn8_host.layers.dense import Dense
from attn8_host.layers.layer_norm import LayerNorm, whole_bits
from attn8_host.layers.lookup import Lookup
from attn8_host.layers.mean_pool import MeanPool
from attn8_host.layers.multiply import Multiply

from .test_kernels import Call, alignment, fills, int8, machine_settings, sizes

seeds = st.integers(0, 2**32 - 1)
formats = st.sampled_from(["int8", "int16"])


@pytest.fixture(params=["viper", "turbo"])
def family(machines, request):
    """A function from the name of a family to a machine that runs one of its forms on one chip."""
    return lambda name: machines(f"turbo.{name}" if request.param == "turbo" else name)


def int16(rng, fill, *shape):
    """int16 values; -32768 is included although the convention is +-32767."""
    count = np.arange(int(np.prod(shape))).reshape(shape)
    if fill == "lowest":
        return np.full(shape, -32768, np.int16)
    if fill == "highest":
        return np.full(shape, 32767, np.int16)
    if fill == "opposite":
        return np.where(count % 2, 32767, -32768).astype(np.int16)
    if fill == "extremes":
        return rng.choice(np.array([-32768, -32767, -1, 0, 1, 32767], np.int16), shape)
    if fill == "outlier":
        return np.where(count == 0, 32767, rng.integers(-2, 3, shape)).astype(np.int16)
    if fill == "offset":
        return (rng.integers(-32000, 32000) + rng.integers(-3, 4, shape)).astype(np.int16)
    return rng.integers(-32768, 32768, shape).astype(np.int16)


def most(form):
    return int(np.iinfo(form).max)


def requantization(rng):
    return int(rng.integers(1 << 14, 1 << 15)), int(rng.integers(16, 46))


@machine_settings
@given(
    seed=seeds, rows=st.integers(1, 3), n=sizes, offset=alignment, form=formats,
    fill=st.sampled_from(["random", "lowest", "highest", "opposite", "extremes", "outlier",
                          "offset"]),
    centred=st.booleans(), eps_shift=st.integers(0, 38), eps=st.booleans(),
)
@example(seed=0, rows=1, n=1023, offset=0, form="int8", fill="outlier", centred=True,
         eps_shift=0, eps=False)
@example(seed=0, rows=1, n=1023, offset=0, form="int16", fill="lowest", centred=False,
         eps_shift=38, eps=True)
def test_norm(family, seed, rows, n, offset, form, fill, centred, eps_shift, eps):
    rng = np.random.default_rng(seed)
    x = int16(rng, fill, rows, n)
    weight = rng.integers(-(2**31), 2**31, n).astype(np.int32)
    bias = rng.integers(-(2**30), 2**30, n).astype(np.int32)
    shift = int(rng.integers(0, 31))
    eps_mult = int(rng.integers(1 << 14, 1 << 15)) if eps else 0
    reference = LayerNorm(weight, bias, shift, eps_mult, eps_shift, form, centred)
    call = Call(family("norm"), offset)
    _, _, _, _, _, out, *_ = call(
        "norm", x, 0, np.zeros(3 * rows, np.int32), weight, bias, np.zeros(rows * n, form), rows, n,
        int(centred), 13 - whole_bits(n, centred), *divmod(eps_mult << eps_shift, 1 << 28), shift,
        most(form))
    assert (out.read(np.dtype(form)) == reference(x).ravel()).all()


@machine_settings
@given(seed=seeds, n=sizes, offset=alignment, fill=fills, place=st.integers(0, 2))
def test_add(family, seed, n, offset, fill, place):
    rng = np.random.default_rng(seed)
    call = Call(family("stream"), offset)
    # The result in a place of its own, or in that of either term
    terms = int16(rng, fill, n), int16(rng, fill, n)
    places = [call.place(values) for values in (*terms, np.zeros(n, np.int16))]
    call("add", places[0], 0, places[1], places[place], n)
    assert (places[place].read(np.int16) == Add()(*terms)).all()


@machine_settings
@given(seed=seeds, n=sizes, offset=alignment, fill=fills)
def test_widen_and_narrow(family, seed, n, offset, fill):
    rng = np.random.default_rng(seed)
    for name, x, form in (("widen", int8(rng, fill, n), "int16"),
                          ("narrow", int16(rng, fill, n), "int8")):
        mult, shift = requantization(rng)
        call = Call(family("stream"), offset)
        _, _, out, *_ = call(name, x, 0, np.zeros(n, form), n, mult, shift)
        assert (out.read(np.dtype(form)) == Requantize(mult, shift, form)(x)).all()


@machine_settings
@given(
    seed=seeds, rows=st.integers(1, 3), inputs=sizes, outputs=sizes, offset=alignment, fill=fills,
)
def test_settle(family, seed, rows, inputs, outputs, offset, fill):
    rng = np.random.default_rng(seed)
    x, w = int8(rng, fill, rows, inputs), int8(rng, fill, outputs, inputs)
    bound = 2**30 - 1 - 16384 * inputs
    bias = rng.integers(-bound, bound + 1, outputs).astype(np.int32)
    constants = [requantization(rng) for _ in range(outputs)]
    mult = np.array([m for m, _ in constants], np.int16)
    shift = np.array([s for _, s in constants], np.int8)
    dense = Dense(w, bias, mult, shift)
    dense.format = "int16"
    want = dense(x)
    sums = Dense(w, bias)(x)
    call = Call(family("stream"), offset)
    place = call.place(sums)  # the results go where the sums were
    call("settle", place, 0, place, rows, outputs, mult, shift)
    assert (place.read(np.int16)[: want.size] == want.ravel()).all()


@machine_settings
@given(
    seed=seeds, rows=sizes, columns=sizes, offset=alignment, fill=fills, takes=formats,
    gives=formats,
)
def test_mean_pool(machines, seed, rows, columns, offset, fill, takes, gives):
    rng = np.random.default_rng(seed)
    x = (int16 if takes == "int16" else int8)(rng, fill, rows, columns)
    mult, shift = requantization(rng)
    call = Call(machines("pool"), offset)
    _, _, out, *_ = call("mean_pool", x, 0, np.zeros(columns, gives), rows, columns, mult, shift,
                         int(takes == "int16"), most(gives))
    assert (out.read(np.dtype(gives)) == MeanPool(mult, shift, gives)(x)).all()


@machine_settings
@given(seed=seeds, n=sizes, offset=alignment, fill=fills, inplace=st.booleans())
def test_lookup(family, seed, n, offset, fill, inplace):
    rng = np.random.default_rng(seed)
    x, table = int8(rng, fill, n), int8(rng, "random", 256)
    call = Call(family("lookup"), offset)
    place = call.place(x)
    out = place if inplace else call.place(np.zeros(n, np.int8))
    call("lookup", place, table, out, n)
    assert (out.read(np.int8) == Lookup(table)(x)).all()


@machine_settings
@given(seed=seeds, n=sizes, offset=alignment, fill=fills, gives=formats)
def test_multiply(machines, seed, n, offset, fill, gives):
    rng = np.random.default_rng(seed)
    a, b = int8(rng, fill, n), int8(rng, fill, n)
    mult, shift = requantization(rng)
    call = Call(machines("multiply"), offset)
    _, _, _, out, *_ = call("multiply", a, 0, b, np.zeros(n, gives), n, mult, shift, most(gives))
    assert (out.read(np.dtype(gives)) == Multiply(mult, shift, gives)(a, b)).all()
