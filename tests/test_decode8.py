"""Attention of one token to a cache, kernel by kernel, on emulators of the chips."""

from binascii import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host.cores.exact16 import FRACTION, OCTAVES, exp2, normalized
from attn8_host.layers import grouped_attention
from attn8_host.layers.grouped_attention import SINE, most, rotary
from attn8_host.numerics.integers import EXP2, rounded, saturated
from tests.test_kernels import Call

machine_settings = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
counts, seeds, heads = st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 3)


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, count=counts, kv_heads=heads, share=heads, eights=st.integers(1, 2))
@example(seed=0, count=1, kv_heads=4, share=2, eights=1)
@example(seed=0, count=516, kv_heads=1, share=1, eights=1)
def test_scores_and_weighted_sums_of_int8(machines, form, seed, count, kv_heads, share, eights):
    rng, d, n = np.random.default_rng(seed), 8 * eights, kv_heads * share
    largest = most(d, "int8")["q"]
    q = rng.choice(np.array([-largest, largest, 77]), (n, d)).astype(np.int16)
    keys, values = rng.integers(-127, 128, (2, count + 2, kv_heads, d)).astype(np.int8)
    keys[0] = np.where(q[0] > 0, 127, -127)  # the largest scores
    steps = rng.integers(1, largest // 127 + 1, (count + 2, kv_heads)).astype(np.uint8)
    wide = rng.integers(1, 256, (count + 2, kv_heads)).astype(np.uint8)
    numerators = rng.integers(0, 32769, (n, count))
    weights = normalized(np.maximum(numerators, 1))
    sums = weights.sum(axis=1).astype(np.int32)
    g = np.arange(n) // share
    dots = np.einsum("hi,jhi->hj", q.astype(np.int64), keys[:count, g].astype(np.int64))
    want = dots * steps[:count, g].T
    kept = values[:count, g].astype(np.int64) * wide[:count, g, None]
    num, shift = (1 << 29) + 12345, int(rng.integers(30, 38))
    mult = (num + (sums >> 1)) // sums
    results = saturated(rounded(np.einsum("hj,jhi->hi", weights, kept), mult[:, None], shift),
                        "int16")

    machine = machines(f"{form}decode8")
    call = Call(machine)
    *_, out, _, _, _, _ = call("scores", q, 0, keys, steps, np.zeros(n * count, np.int32), count,
                               n, kv_heads, d)
    assert (out.read(np.int32) == want.ravel()).all()
    machine.reset()
    *_, out, _, _, _, _, _, _ = Call(machine)(
        "weighted", values, 0, wide, weights.astype(np.int32), sums, np.zeros(n * d, np.int16),
        count, n, kv_heads, d, num, shift)
    assert (out.read(np.int16) == results.ravel()).all()


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, count=counts, rows=heads, mult=st.integers(1 << 14, (1 << 15) - 1),
       shift=st.integers(16, 45), spread=st.integers(0, 29))
@example(seed=0, count=516, rows=1, mult=1 << 14, shift=16, spread=29)
@example(seed=0, count=516, rows=1, mult=1 << 14, shift=16, spread=0)
@example(seed=0, count=40, rows=3, mult=32767, shift=16, spread=6)
def test_softmax(machines, form, seed, count, rows, mult, shift, spread):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-(1 << spread), 1 << spread, (rows, count), endpoint=True)
    t = rounded(scores.max(axis=1, keepdims=True) - scores, mult, shift)
    weights = normalized(np.where(t >= OCTAVES << FRACTION, 0, exp2(t)))
    machine = machines(f"{form}softmax16")
    out, _, sums, *_ = Call(machine)("softmax", scores.astype(np.int32), 0,
                                     np.zeros(rows, np.int32), EXP2.astype(np.uint16), rows, count,
                                     mult, shift)
    assert (out.read(np.int32) == weights.ravel()).all()
    assert (sums.read(np.int32) == weights.sum(axis=1)).all()


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, rows=heads, pairs=st.integers(1, 9), position=st.integers(0, 515),
       largest=st.integers(128, 32767))
def test_rotary_positions(machines, form, seed, rows, pairs, position, largest):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-32768, -5000, 0, 77, 32767]), (rows, 2 * pairs)).astype(np.int16)
    turns = rng.integers(-(1 << 31), 1 << 31, pairs).astype(np.int32)
    want = rotary(x[:, None], turns, position, largest)
    out, *_ = Call(machines(f"{form}rotary"))(
        "rotate", x, 0, turns, SINE.astype(np.int16), position, rows, 2 * pairs, largest)
    assert (out.read(np.int16) == want.ravel()).all()


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, rows=heads, d=st.integers(1, 20), slot=st.integers(0, 3),
       largest=st.sampled_from([128, 8064, 32385]), spread=st.integers(0, 15))
@example(seed=0, rows=2, d=4, slot=0, largest=32385, spread=0)
def test_a_row_of_the_cache(machines, form, seed, rows, d, slot, largest, spread):
    rng = np.random.default_rng(seed)
    x, centre = (rng.integers(-(1 << spread), 1 << spread, (rows, d)) for _ in range(2))
    kept = np.clip(x - centre, -largest, largest)
    step = np.maximum((np.abs(kept).max(axis=1) + 126) // 127, 1)
    want, want_steps = np.full((4, rows, d), 99, np.int8), np.full((4, rows), 99, np.uint8)
    want[slot] = (kept + step[:, None] // 2) // step[:, None]
    want_steps[slot] = step
    _, _, _, cache, found, *_ = Call(machines(f"{form}rotary"))(
        "put", x.astype(np.int16), 0, centre.astype(np.int16), np.full(want.shape, 99, np.int8),
        np.full((4, rows), 99, np.uint8), slot, rows, d, largest)
    assert (cache.read(np.int8) == want.ravel()).all()
    assert (found.read(np.uint8) == want_steps.ravel()).all()


def test_known_answers_of_positions_are_those_of_the_reference(on_device, monkeypatch):
    monkeypatch.setattr(grouped_attention, "SINE", 128 * np.arange(129))
    numbers = on_device("attn8.known").numbers
    x, centre = (250 * np.array(numbers("b", 18, step), int).reshape(3, 6) for step in (37, 91))
    turns = np.array([-1234567890, 123456789, 12345], np.int32)
    turned = rotary(x.astype(np.int16)[:, None], turns, 100, 20000)
    kept = np.clip(turned[:, 0].astype(int) - centre, -15000, 15000)
    step = (np.abs(kept).max(axis=1, keepdims=True) + 126) // 127
    rows = ((kept + step // 2) // step).astype(np.int8)
    found = turned.astype(np.int16).tobytes() + bytes(18) + rows.tobytes() + bytes(3)
    assert crc32(found + bytes(step.ravel().tolist())) == on_device("attn8.known.rotary").ANSWER
