"""Answers that need no arithmetic to know, where public reports saw other implementations fail."""

from fractions import Fraction

import numpy as np
import pytest

from attn8_host import cores
from attn8_host.numerics.integers import requant, rounded
from attn8_host.numerics.scales import requant_constants

D = 8
SCALES = (0.05, 0.05, 0.05, 0.05)
CORES = sorted(name for name, core in cores.all_cores().items()
               if name != "micro" and core.format == "int8")  # of int16: tests/test_w8a16.py


def options(name, seq_len):
    """(causal, options) of a core for so many tokens."""
    chosen = {
        "decode": (True, {"cache_len": seq_len}),
        "sliding": (True, {"window": min(seq_len, 512)}),
        "local_global": (False, {"window": 3, "global_indices": [0, seq_len - 1]}),
        "sparse": (False, {"mask": ["local_window", 2]}),
    }
    return chosen.get(name, (False, {}))


@pytest.mark.parametrize("peaked", [False, True])
@pytest.mark.parametrize("seq_len", [4, 33, 255, 256, 257, 516])
@pytest.mark.parametrize("name", CORES)
def test_an_average_of_127_is_127(name, seq_len, peaked):
    """Values that are all 127, with flat and with peaked scores, at one scale."""
    core = cores.get(name)
    if seq_len > core.max_seq_len:
        seq_len = core.max_seq_len
    causal, chosen = options(name, seq_len)
    rng = np.random.default_rng(1)
    drawn = dict(chosen)
    tensors = {key: values for key, values in core.parameters(rng, 1, D, drawn).items()}
    constants, made = core.quantize(
        D, dict(zip(("q", "k", "v", "heads"), SCALES, strict=True)), chosen, tensors)
    heads = {key: values[0] for key, values in made.items()}
    reference = core.reference(**constants, **core.decisive(chosen), **heads, causal=causal)
    q = np.zeros((seq_len, D), np.int8)
    if peaked:
        q[np.arange(seq_len), np.arange(seq_len) % D] = 127
    found = reference(q, q, np.full((seq_len, D), 127, np.int8))
    assert (found == 127).all()


@pytest.mark.parametrize("seq_len", [4, 33, 255, 256, 257, 516])
def test_micro_loses_what_it_truncates(seq_len):
    """As the original does: flat weights of 256 // N, which add up to less than 256."""
    q = np.zeros((seq_len, D), np.int8)
    found = cores.get("micro").reference()(q, q, np.full((seq_len, D), 127, np.int8))
    assert (found == 127 * (256 // seq_len * seq_len) >> 8).all()


@pytest.mark.board("virtual")
@pytest.mark.parametrize("inputs", [1, 271, 1280, 4096])
@pytest.mark.parametrize("outputs", [1, 2, 3, 5, 7, 10])
def test_dense_of_odd_shapes_at_every_alignment(remote, inputs, outputs):
    """All -127: every sum is 127 * 127 * inputs."""
    sums = remote("""
from attn8.layers.dense import Dense, Linear
room = bytearray(inputs + 4)
for i in range(len(room)): room[i] = 129
weight = array("b", (-127 for _ in range(inputs * outputs)))
layer = Dense(Linear("dense", inputs, outputs, weight, array("i", bytes(4 * outputs))))
give([list(layer(memoryview(room)[at : at + inputs])) for at in range(4)])
""", inputs=inputs, outputs=outputs)
    assert sums == [[127 * 127 * inputs] * outputs] * 4


def test_requantization_against_exact_rounding():
    """The integers are exact for their own ratio M / 2**s. Against the ratio that was meant, of
    which M keeps 15 bits, they differ rarely and then by one step, at a half."""
    rng = np.random.default_rng(3)
    differ = count = 0
    worst = Fraction(0)
    for ratio in np.exp(rng.uniform(np.log(2.0**-22), np.log(0.5), 400)):
        mult, shift = requant_constants(ratio)
        most = min(int(127.5 / ratio), (1 << 30) - 1)
        a = rng.integers(-most, most + 1, 200)
        found = rounded(a, mult, shift)
        assert found.tolist() == [
            int((2 * int(x) * mult + (1 << shift)) >> (shift + 1)) for x in a]
        clamped = requant(a, mult, shift)
        for x, y in zip(a.tolist(), clamped.tolist(), strict=True):
            exact = x * Fraction(ratio)
            nearest = max(-127, min(127, int((exact + Fraction(1, 2)).__floor__())))
            differ += nearest != y
            count += 1
            if abs(exact) <= 127:
                worst = max(worst, abs(exact - y))
    assert 0 < differ / count < 0.0015
    assert worst <= Fraction(5040, 10000)
