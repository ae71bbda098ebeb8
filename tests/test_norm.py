"""Normalization in integers against float64 on the same int16 rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.layers.layer_norm import LayerNorm, norm_constants, normalized, whole_bits

SIZES = [1, 2, 3, 4, 5, 16, 31, 32, 33, 64, 130, 512, 1000, 1024, 4095]


def rows(rng, kind, n):
    """int16 [3, n]."""
    x = rng.normal(size=(3, n))
    if kind == "normal":
        x *= rng.choice([300, 3000, 8000])
    elif kind == "small":  # a few steps
        x *= rng.choice([0.3, 1, 3])
    elif kind == "outlier":
        x *= rng.choice([1, 5, 50])
        x[:, rng.integers(n)] = rng.choice([-1, 1]) * rng.choice([100, 3000, 16000, 32767])
    elif kind == "offset":
        x = x * rng.choice([0.5, 5, 500]) + rng.choice([-1, 1]) * rng.choice([1000, 16000, 30000])
    elif kind == "equal":  # variance 0
        x[:] = rng.integers(-32767, 32768)
    elif kind == "full":
        x = rng.choice([-32767, 32767], (3, n))
    elif kind == "two values":
        low, high = rng.integers(-5, 6, 2)
        x = np.where(np.arange(n) < rng.integers(1, n + 1), low, high) * np.ones((3, 1))
    else:
        x = rng.integers(-32768, 32768, (3, n))
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


KINDS = ["normal", "small", "outlier", "offset", "equal", "full", "two values", "any"]


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.sampled_from(SIZES), kind=st.sampled_from(KINDS),
    gammas=st.sampled_from(["one", "normal", "of all sizes", "tiny"]), centred=st.booleans(),
    eps=st.sampled_from([0, 1e-12, 1e-6, 1e-5, 1e-3]), step=st.floats(1e-5, 1e-2),
)
def test_as_good_as_rounding(seed, n, kind, gammas, centred, eps, step):
    rng = np.random.default_rng(seed)
    x = rows(rng, kind, n)
    weight = np.ones(n) if gammas == "one" else rng.normal(1, 0.3, n)
    if gammas == "of all sizes":
        weight = np.exp(rng.normal(0, 2, n))
    elif gammas == "tiny":
        weight *= 1e-3
    bias = rng.normal(0, 0.3, n) if centred else None
    z = normalized(x.astype(np.float64), eps / step**2, centred)
    want = z * weight + (0 if bias is None else bias)
    peak = max(np.abs(want).max(), np.abs(weight).max() / 256)  # where all values are equal, too
    for form, steps in (("int8", 127), ("int16", 16383)):
        scale = peak / steps
        constants, tensors = norm_constants(weight, bias, eps, step, scale)
        got = LayerNorm(**tensors, **constants, format=form, centred=centred)(x)
        most = np.iinfo(form).max
        error = np.abs(got - np.clip(want / scale, -most, most)).max()
        # A step of the root, of its reciprocal, and of the factor of the widest rows
        bound = 0.51 + steps * (2**-14 + 2.0 ** (whole_bits(n, centred) - 17))
        assert error <= bound, (form, error, bound)
        assert form == "int16" or bound < 0.6


def test_equal_values_give_the_bias():
    bias = np.array([-1.0, 0.0, 0.5])
    constants, tensors = norm_constants(np.full(3, 1e3), bias, 0, 1e-3, 1 / 127)
    got = LayerNorm(**tensors, **constants)(np.full((1, 3), 31000, np.int16))
    assert got.tolist() == [[-127, 0, 64]]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"eps": 1e4}, "eps: expected less than"), ({"scale_out": 1e-9}, "weight and bias: expected")],
)
def test_what_the_integers_cannot_express_is_refused(change, message):
    constants = {"weight": np.ones(4), "bias": np.ones(4), "eps": 1e-5, "scale_in": 1e-3,
                 "scale_out": 0.1}
    with pytest.raises(ValueError, match=message):
        norm_constants(**{**constants, **change})
