"""Dense, ReLU and mean pooling: the board against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.layers.dense import Dense
from attn8_host.layers.mean_pool import MeanPool
from attn8_host.layers.relu import ReLU

sizes = st.integers(1, 40)
board_settings = settings(max_examples=25, deadline=None)


@board_settings
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), inputs=sizes, outputs=sizes,
    wide=st.booleans(),
)
def test_dense(remote, seed, rows, inputs, outputs, wide):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (rows, inputs)).astype(np.int8)
    weight = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    bias = rng.integers(-(10**6), 10**6, outputs).astype(np.int32)
    requant = {} if wide else {
        "mult": rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16),
        "shift": rng.integers(16, 46, outputs).astype(np.int8),
    }
    out = remote(
        "from attn8.layers.dense import Dense, Linear\n"
        f"linear = Linear('d', inputs, outputs, weight, bias, {', '.join(requant)})\n"
        "give(Dense(linear, rows)(x))",
        x=x, weight=weight, bias=bias, rows=rows, inputs=inputs, outputs=outputs, **requant,
    )
    assert (out == Dense(weight, bias, **requant)(x).ravel()).all()


@board_settings
@given(seed=st.integers(0, 2**32 - 1), rows=sizes, columns=sizes)
def test_mean_pool(remote, seed, rows, columns):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
    mult, shift = int(rng.integers(1 << 14, 1 << 15)), int(rng.integers(16, 46))
    out = remote(
        "from attn8 import MeanPool\ngive(MeanPool(rows, columns, mult, shift)(x))",
        x=x, rows=rows, columns=columns, mult=mult, shift=shift,
    )
    assert (out == MeanPool(mult, shift)(x)).all()


def test_relu(remote):
    x = np.arange(-128, 128).astype(np.int8)
    out = remote("from attn8 import ReLU\ngive(ReLU(256)(x))", x=x)
    assert (out == ReLU()(x)).all()


@pytest.mark.parametrize(
    "code, message",
    [
        ("ReLU(4)(bytes(3))", "relu: expected 4 int8 values, got 3"),
        ("ReLU(4)('abcd')", "relu: expected array('b'), got str"),
        ("MeanPool(2, 2, 1, 20)", "mean_pool.mult: expected 16384 to 32767, got 1"),
        ("MeanPool(0, 2, 16384, 20)", "mean_pool.seq_len: expected 1 to 32768, got 0"),
        ("MeanPool(2, 2, 16384, 20)(bytes(5))", "mean_pool: expected 4 int8 values, got 5"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    assert remote.refused(code, "from attn8 import ReLU, MeanPool") == message
