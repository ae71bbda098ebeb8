"""Cores made at the REPL from scales: what the host makes of the same scales."""

import numpy as np
import pytest

from attn8_host import cores

SCALES = (0.03, 0.025, 0.04, 0.02)
S, D = 12, 8

MAKE = """
from attn8 import {name}
core = {name}.from_scales(12, 8, 0.03, 0.025, 0.04, 0.02, **options)
out = array("b", bytes(len(q)))
give(core(q, k, v, out))
"""


@pytest.fixture
def qkv():
    return np.random.default_rng(9).integers(-127, 128, (3, S, D), np.int8)


def on_board(remote, name, qkv, more="", **options):
    q, k, v = (x.ravel() for x in qkv)
    return remote(MAKE.format(name=name) + more, q=q, k=k, v=v, options=options)


@pytest.mark.board("virtual")
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("phi", ["relu", "relu+1", "elu+1"])
def test_linear(remote, qkv, phi, normalize):
    options = {"phi": phi, "normalize": normalize}
    linear = cores.get("linear")
    reference = linear.reference(**linear.make_constants(D, *SCALES, **options), **options)
    assert (on_board(remote, "Linear", qkv, **options) == reference(*qkv).ravel()).all()


@pytest.mark.board("virtual")
@pytest.mark.parametrize("gate", [None, 0.7, [-9.0, -2.0, -1.0, -0.1, 0.0, 0.5, 3.0, 200.0]])
def test_local_global(remote, qkv, gate):
    """Without a gate half of each."""
    options = {"window": 2, "global_indices": [0, 7]}
    made = cores.get("local_global").make_constants(
        D, *SCALES, gate=np.broadcast_to(0.0 if gate is None else gate, D), **options)
    reference = cores.get("local_global").reference(**made, **options)
    chosen = {} if gate is None else {"gate": gate}
    found = on_board(remote, "LocalGlobal", qkv, **options, **chosen)
    assert (found == reference(*qkv).ravel()).all()
    if gate is None:
        assert set(made["gate"].tolist()) == {16384}


@pytest.mark.board("virtual")
def test_exact16(remote):
    q, k, v = np.random.default_rng(9).integers(-8000, 8001, (3, S, D), np.int16)
    scales = [scale / 128 for scale in SCALES]
    exact16 = cores.get("exact16")
    reference = exact16.reference(**exact16.make_constants(D, *scales), causal=True)
    found = remote(f"from attn8 import Exact16\nout = array('h', bytes({2 * S * D}))\n"
                   f"core = Exact16.from_scales({S}, {D}, *scales, causal=True)\n"
                   "give(core(q, k, v, out))", q=q.ravel(), k=k.ravel(), v=v.ravel(), scales=scales)
    assert (found == reference(q, k, v).ravel()).all()


@pytest.mark.parametrize("core", sorted(set(cores.all_cores()) - {"micro"}))  # which has no scales
def test_each_core_is_made_from_scales(remote, core):
    name = core.title().replace("_", "")
    assert remote(f"import attn8\ngive(str(hasattr(attn8.{name}, 'from_scales')))") == "True"


FACTS = """
from attn8 import quantize
made = quantize.performer_constants(8, 0.03, 0.025, 0.04, 0.02, **options)
give(made.pop("features"))
give(sorted(made.items()))
"""


def test_performer(remote, qkv):
    """What the reference makes of the board's features, which are orthogonal and seeded."""
    seeds = []
    for seed in (1, 2, 0xFFFFFFFF):
        found, features, facts = on_board(
            remote, "Performer", qkv, FACTS, num_features=12, seed=seed)
        features = features.reshape(12, D)
        reference = cores.get("performer").reference(features, **dict(facts))
        assert (found == reference(*qkv).ravel()).all()
        for block in (features[:D], features[D:]):
            unit = block / np.linalg.norm(block, axis=1, keepdims=True)
            assert abs(unit @ unit.T - np.eye(len(block))).max() < 0.03
        seeds.append(features.tobytes())
    assert len(set(seeds)) == 3


def test_the_features_are_normal(remote):
    """Their squares have the mean and the variance of a normal distribution's: 1 and 2."""
    floats = np.concatenate([
        remote(f"from attn8 import quantize\ngive(quantize.random_features(24, 24, {seed}))")
        for seed in range(1, 9)
    ])
    assert np.mean(floats) == pytest.approx(0, abs=0.05)
    assert np.mean(floats**2.0) == pytest.approx(1, abs=0.08)
    assert np.mean(floats**4.0) == pytest.approx(3, abs=0.4)


@pytest.mark.parametrize("code, message", [
    ("Exact16.from_scales(4, 2, 1, 1, 1, 1)", "ratio of scales: expected 2**-31 to 0.5"),
    ("LocalGlobal.from_scales(4, 2, 1, 1, 1, 1, gate=[1], window=1, global_indices=[])",
     "gate: expected 2 values, got 1"),
    ("Performer.from_scales(4, 2, 1, 1, 1, 1, num_features=257)",
     "num_features: expected 1 to 256"),
    ("Performer.from_scales(4, 2, 1, 1, 1, 1, seed=0)", "seed: expected 1 to 4294967295, got 0"),
    ("Linear.from_scales(4, 2, 1, 1, 1, 0)", "scale_out: expected 1e-30 to 1e+30, got 0"),
    ("Linear.from_scales(4, 2, 1, 1, 1, 1, phi='exp')", "phi: expected relu, relu+1 or elu+1"),
])
def test_bad_input_is_refused(remote, code, message):
    said = remote.refused(code, "from attn8 import Exact16, Linear, LocalGlobal, Performer")
    assert said.startswith(message)
