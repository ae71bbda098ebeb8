"""int16 by int8 matrix products: each form on emulators of the chips against the reference."""

from binascii import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host.layers.dense import Dense
from attn8_host.numerics.pairs import fits, paired, unpaired
from attn8_host.numerics.scales import narrowing
from tests.test_kernels import Call, alignment

machine_settings = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FORMATS = {"int32": 0, "int8": 127, "int16": 32767, "int16 within 8191": 8191}


@pytest.fixture(params=["matmul16", "turbo.matmul16"])
def machine(machines, request):
    return machines(request.param)


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), inputs=st.integers(1, 200),
       outputs=st.integers(1, 20), offset=alignment, output=st.sampled_from(sorted(FORMATS)),
       extreme=st.booleans(), in_pairs=st.booleans(), bare=st.booleans())
@example(seed=0, rows=1, inputs=4096, outputs=2, offset=0, output="int32", extreme=True,
         in_pairs=False, bare=False)
@example(seed=0, rows=2, inputs=64, outputs=9, offset=0, output="int16", extreme=True,
         in_pairs=False, bare=False)
@example(seed=0, rows=1, inputs=1, outputs=1, offset=1, output="int8", extreme=False,
         in_pairs=False, bare=False)
@example(seed=0, rows=1, inputs=4096, outputs=2, offset=0, output="int32", extreme=True,
         in_pairs=True, bare=False)
@example(seed=0, rows=2, inputs=64, outputs=10, offset=0, output="int16", extreme=True,
         in_pairs=True, bare=False)
@example(seed=0, rows=2, inputs=8, outputs=2, offset=3, output="int8", extreme=False,
         in_pairs=True, bare=True)
def test_products(machine, seed, rows, inputs, outputs, offset, output, extreme, in_pairs, bare):
    rng = np.random.default_rng(seed)
    if in_pairs:
        inputs, outputs = max(8, -(-inputs // 4) * 4), -(-outputs // 2) * 2
    x = rng.integers(-32768, 32768, (rows, inputs)).astype(np.int16)
    w = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    if extreme:  # the largest sums that there are
        w = np.where(w > 0, 127, -128).astype(np.int8)
        x[0] = np.where(w[0] > 0, 32767, -32768)
    bias = rng.choice(np.array([-(1 << 29), 12345, 1 << 29]), outputs).astype(np.int32)
    mult = rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16)
    shift = rng.integers(16, 46, outputs).astype(np.int8)
    most = FORMATS[output]
    bias = np.zeros(outputs, np.int32) if bare else bias
    reference = Dense(w, bias, *((mult, shift) if most else ()))
    reference.format, reference.most = output.split()[0], most or None
    want = reference(x)

    machine.reset()
    call = Call(machine, offset)
    w = paired(w) if in_pairs else w
    if bare and "offsets" not in machine.functions:
        bias = 0
    if "offsets" in machine.functions:
        w, _, bias, *_ = call("offsets", w, 0, bias, inputs, outputs, int(in_pairs))
    out = np.full(want.shape, 77, want.dtype)
    row = np.zeros(2 * inputs + 10, np.uint8)
    *_, out, _, _, _, _, _, _, _ = call("matmul", w, 0, x, bias, mult, shift, out,
                                     machine.buffer(row), rows, inputs, outputs,
                                     narrowing(reference.weight), most, int(in_pairs))
    assert (out.read(want.dtype) == want.ravel()).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), inputs=st.integers(1, 80), first=st.integers(1, 12),
       output=st.sampled_from(sorted(FORMATS)), lowest=st.booleans(), in_pairs=st.booleans())
def test_outputs_in_two_calls(machine, seed, inputs, first, output, lowest, in_pairs):
    """As where a part of the weights is read at a time."""
    rng = np.random.default_rng(seed)
    last = 9
    if in_pairs:
        inputs, first, last = 4 * inputs + 4, 2 * first, 10
    outputs = first + last
    x = rng.integers(-32768, 32768, (1, inputs)).astype(np.int16)
    w = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    w[0] = -128 if lowest else w[0]  # something goes down
    bias = rng.integers(-(1 << 29), 1 << 29, outputs).astype(np.int32)
    mult = rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16)
    shift = rng.integers(16, 46, outputs).astype(np.int8)
    most = FORMATS[output]
    reference = Dense(w, bias, *((mult, shift) if most else ()))
    reference.format, reference.most = output.split()[0], most or None
    want = reference(x)

    machine.reset()
    call = Call(machine)
    out, row = (call.place(np.zeros_like(a)) for a in (want, np.zeros(2 * inputs + 10, np.uint8)))
    placed = [call.place(a) for a in (x, mult, shift)]
    for at, n in ((0, first), (first, last)):
        part, few = w[at : at + n], bias[at : at + n]
        part = paired(part) if in_pairs else part
        if "offsets" in machine.functions:
            part, _, few, *_ = call("offsets", part, 0, few, inputs, n, int(in_pairs))
        call("matmul", part, at, placed[0], few, *placed[1:], out, row, 1, inputs, n,
             narrowing(reference.weight), most, int(in_pairs))
    assert (out.read(want.dtype) == want.ravel()).all()


def test_known_answers_are_those_of_the_reference(on_device):
    known, found = on_device("attn8.known.matmul16"), 0

    def numbers(n, step, dtype=np.int8):
        return np.array(on_device("attn8.known").numbers("b", n, step), dtype)

    for inputs, m, down, in_pairs in (36, 9, 0, False), (39, 9, 1, False), (48, 9, 0, False), (
            56, 10, 0, True), (44, 10, 1, True):
        j = np.arange(m)
        weight = numbers(m * inputs, 91)
        weight = unpaired(weight.reshape(-1, inputs, 2)) if in_pairs else weight.reshape(m, inputs)
        x = 257 * numbers(2 * inputs, 37, np.int64).reshape(2, inputs)
        reference = Dense(weight, (50000 * j - 200000).astype(np.int32),
                          (20000 + j).astype(np.int16), (30 + j % 3).astype(np.int8))
        products = ((x + (1 << down >> 1)) >> down) @ reference.weight.T.astype(np.int64)
        for form in ("int16", "int8"):
            reference.format = form
            out = reference.results(products)
            assert len(np.unique(out)) > 9
            found = crc32(out.tobytes(), found)
        found = crc32((products + reference.bias).astype(np.int32).tobytes(), found)
    assert found == known.ANSWER


def test_pairs_are_two_weights_of_a_halfword():
    w = np.arange(-128, 128, dtype=np.int16).astype(np.int8).reshape(8, 32)
    assert fits(w) and not fits(w[:7]) and not fits(w[:, :30]) and not fits(w[:, :4])
    pairs = paired(w)
    assert pairs.shape == (4, 32, 2)
    assert (pairs.view("<i2")[..., 0] == 256 * w[1::2].astype(np.int64) + w[::2] + 128).all()
    assert (unpaired(pairs) == w).all()
