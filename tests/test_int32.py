"""Results as int32, where a core is asked for them: those of int8 before they are clamped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host import cores
from attn8_host.cores.exact import normalize
from attn8_host.cores.linear import attend
from tests.test_kernels import Call, alignment, machine_settings
from tests.test_micro import original, slid

S, D = 9, 6
RUN = """
from attn8 import {name}
core = {name}(seq_len, head_dim, output="int32", **made)
give(core(q, k, v, array("i", bytes(4 * len(q)))))
"""
# core, causal, options
CASES = [
    ("linear", False, {}), ("linear", True, {"phi": "elu+1"}), ("linear", True, {"phi": "relu"}),
    ("linear", False, {"normalize": False}), ("performer", False, {}), ("performer", True, {}),
    ("sliding", True, {"window": 4}), ("decode", True, {"cache_len": 12}),
]


@pytest.mark.parametrize("finer", [1, 0.002])
@pytest.mark.parametrize(("name", "causal", "options"), CASES)
def test_results_are_those_of_int8_and_beyond(remote, name, causal, options, finer):
    """In the scale of int8, and in one that is 500 times finer."""
    rng = np.random.default_rng(8)
    q, k, v = rng.integers(-127, 128, (3, S, D), np.int8)
    core = cores.get(name)
    parameters = core.parameters(rng, 1, D, dict(options))
    scale = 0.03 * finer * (1 if options.get("normalize", True) else 3000)
    scales = dict(zip(("q", "k", "v", "heads"), (0.02, 0.03, 0.03, scale), strict=True))
    constants, made = core.quantize(D, scales, options, parameters)
    made = {key: values[0] for key, values in made.items()}
    given_ = {**constants, **options, "causal": causal}
    expected = core.reference(**given_, **made, output="int32")(q, k, v)
    narrow = core.reference(**given_, **made)(q, k, v)
    assert (np.clip(expected, -127, 127) == narrow).all()
    assert (abs(expected).max() > 127) == (finer < 1)
    found = remote(RUN.format(name=name.title()), q=q.ravel(), k=k.ravel(), v=v.ravel(),
                   made=given_, seq_len=S, head_dim=D) if not made else remote(
        "given['features'] = features\n" + RUN.format(name=name.title()).replace("made", "given"),
        q=q.ravel(), k=k.ravel(), v=v.ravel(), given=given_, seq_len=S, head_dim=D,
        **{key: values.ravel() for key, values in made.items()})
    assert found.dtype == np.int32
    assert (found == expected.ravel()).all()


@pytest.mark.parametrize("window", [None, 4])
def test_the_original_gives_int32(remote, window):
    rng = np.random.default_rng(9)
    q, k, v = rng.integers(-127, 128, (3, S, 17), np.int8)
    q //= 8
    if window:
        expected = slid(q, k, v, window)
    else:
        expected = [original(q[t].tolist(), k.tolist(), v.tolist(), t)[1] for t in range(S)]
    made = {"causal": True, "window": window}
    found = remote(RUN.format(name="Micro"), q=q.ravel(), k=k.ravel(), v=v.ravel(), made=made,
                   seq_len=S, head_dim=17)
    assert (found.reshape(S, 17) == expected).all()
    assert (cores.get("micro").reference(**made, output="int32")(q, k, v) == expected).all()


@pytest.mark.parametrize("code", [
    "Linear.from_scales(4, 2, 1, 1, 1, 1, output='int32')",
    "Sliding.from_scales(3, 2, 1, 1, 1, 1, output='int32')",
])
def test_steps_give_int32_and_need_no_memory(remote, code):
    setup = f"""
from attn8 import Linear, Sliding
core = {code}
one = array("b", [9, -9])
out = array("i", bytes(8))
"""
    assert remote(setup + "give(core.step(one, one, one, out))").tolist() == [9, -9]
    assert remote.needs_no_heap("core.reset()\ncore.step(one, one, one, out)", setup)


@pytest.mark.parametrize(("code", "message"), [
    ("Linear.from_scales(1, 2, 1, 1, 1, 1, output='int16')",
     "output: expected int8 or int32, got int16"),
    ("Micro(1, 2, output='int64')", "output: expected int8 or int32, got int64"),
    ("Micro(1, 2, output='int32')(one, one, one, one)", "out: expected array('i')"),
    ("Sliding.from_scales(1, 2, 1, 1, 1, 1, output='int32').step(one, one, one, one)",
     "out: expected array('i')"),
    ("Linear.from_scales(1, 2, 1, 1, 1, 1, output='int32')(one, one, one, array('i', bytes(4)))",
     "out: expected 2 values, got 1"),
])
def test_bad_input_is_refused(remote, code, message):
    setup = 'from attn8 import Linear, Micro, Sliding\none = array("b", bytes(2))'
    assert remote.refused(code, setup).startswith(message)


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), keys=st.integers(1, 40), more=st.integers(0, 3),
       head_dim=st.integers(1, 20), shift=st.integers(16, 45), offset=alignment)
def test_machine_code_of_weighted_sum(machines, seed, keys, more, head_dim, shift, offset):
    rng = np.random.default_rng(seed)
    v = rng.integers(-128, 128, (keys, head_dim))
    weights = rng.integers(0, 32769, keys)
    weights[0] = 32768  # as the largest score of a row has
    packed = np.zeros((head_dim, keys + more), np.uint8)
    packed[:, :keys] = (v + 128).T
    num = int(rng.integers(1 << 29, 1 << 30))
    expected = normalize((weights @ v)[None], np.array([weights.sum()]), num, shift, "int32")[0]
    *_, out, _, _, _, _, _ = Call(machines("int32"), offset)(
        "weighted_sum", packed, 0, weights.astype(np.uint16),
        np.array([weights.sum()], np.int32), np.zeros(head_dim, np.int32), keys, keys + more,
        head_dim, num, shift)
    assert (out.read(np.int32) == expected).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), features=st.integers(1, 30),
       head_dim=st.integers(1, 20), p=st.integers(-3, 7), denominator=st.sampled_from([0, 65536]),
       shift=st.integers(16, 45), offset=alignment)
def test_machine_code_of_attend(machines, seed, rows, features, head_dim, p, denominator, shift,
                                offset):
    rng = np.random.default_rng(seed)
    phi = rng.integers(0, 4096, (rows, features))
    kv = rng.integers(-2000, 2001, (features, head_dim))
    z = rng.integers(0, 5000, features)
    num = int(rng.integers(1 << 29, 1 << 30))
    try:
        expected, sums = attend(phi, kv, z, p, num, shift, denominator, "int32")
    except OverflowError:  # no constants for these scales
        return
    _, _, _, _, total, out, *_ = Call(machines("int32"), offset)(
        "attend", kv.T.astype(np.int32).copy(), 0, phi.astype(np.uint16), z.astype(np.int32),
        np.zeros(rows, np.int32), np.zeros((rows, head_dim), np.int32), 0, rows, features,
        head_dim, p, denominator, num, shift, 0)
    assert (out.read(np.int32).reshape(expected.shape) == expected).all()
    assert (total.read(np.int32) == sums).all()
