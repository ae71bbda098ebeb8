"""What stands for int16 where other kernels take int8, on emulators of the chips."""

from binascii import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host.layers.lookup import Interpolate
from attn8_host.numerics.integers import requant
from tests.test_kernels import Call

machine_settings = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EXTREMES = np.array([-32768, -32767, -129, -1, 0, 1, 127, 32640, 32767], np.int16)


@pytest.fixture(params=["wide", "turbo.wide"])
def machine(machines, request):
    return machines(request.param)


def int16(rng, n):
    return np.where(rng.random(n) < 0.5, rng.choice(EXTREMES, n), rng.integers(-32768, 32768, n)
                    ).astype(np.int16)


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 70))
def test_lines_and_relu(machine, seed, n):
    rng = np.random.default_rng(seed)
    x, table = int16(rng, n), int16(rng, 513)
    *_, out, _ = Call(machine)("interpolate", x, 0, table, np.zeros(n, np.int16), n)
    assert (out.read(np.int16) == Interpolate(table)(x)).all()
    machine.reset()
    _, out, _ = Call(machine)("relu", x, np.zeros(n, np.int16), n)
    assert (out.read(np.int16) == np.maximum(x, 0)).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 70),
       form=st.sampled_from(["int8", "int16"]), mult=st.integers(1 << 14, (1 << 15) - 1),
       shift=st.integers(16, 45))
@example(seed=0, n=70, form="int16", mult=32767, shift=16)
@example(seed=0, n=70, form="int16", mult=1 << 14, shift=45)
def test_products(machine, seed, n, form, mult, shift):
    rng = np.random.default_rng(seed)
    a, b = int16(rng, n), int16(rng, n)
    want = requant(a.astype(np.int64) * b, mult, shift, form)
    _, _, _, out, *_ = Call(machine)("multiply", a, 0, b, np.zeros(n, form), n, mult, shift,
                                     127 if form == "int8" else 32767)
    assert (out.read(np.dtype(form)) == want).all()


def test_known_answers_are_those_of_the_reference(on_device):
    numbers = on_device("attn8.known").numbers
    x, y = (257 * np.array(numbers("b", 37, step), np.int64) for step in (37, 91))
    wide = np.clip(requant(x * y, 30000, 29, "int16"), -8191, 8191)
    table = np.arange(513) * 7919 % 60001 - 30000
    out = [requant(x * y, 20000, 37, "int8"), wide.astype(np.int16), Interpolate(table)(x),
           np.maximum(y, 0).astype(np.int16)]
    assert all(len(np.unique(values)) > 9 for values in out)
    assert crc32(b"".join(map(bytes, out))) == on_device("attn8.known.wide").ANSWER
