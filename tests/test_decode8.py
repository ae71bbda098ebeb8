"""Attention of one token to a cache, kernel by kernel, on emulators of the chips."""

from binascii import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host.cores.exact16 import FRACTION, OCTAVES, exp2, normalized
from attn8_host.layers.grouped_attention import most, rotary
from attn8_host.numerics.integers import EXP2, rounded, saturated
from attn8_host.numerics.rotary import SINE
from tests.test_kernels import Call

machine_settings = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
counts, seeds, heads = st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 3)


TABLE = np.append(EXP2, 32768).astype(np.uint16)
OUT = {"num": (1 << 29) + 12345, "out_shift": 30}


def attended(q, keys, key_steps, values, value_steps, mult, shift, num, out_shift):
    """Of heads of q [heads, head_dim] to keys and values [slots, kv_heads, head_dim] of int8, with
    steps [slots, kv_heads]."""
    heads = len(q)
    g = np.arange(heads) // (heads // keys.shape[1])
    k, v = (rows[:, g].astype(np.int64) * steps[:, g, None]
            for rows, steps in ((keys, key_steps), (values, value_steps)))
    scores = np.einsum("hi,jhi->hj", q.astype(np.int64), k)
    assert np.abs(scores).max() < 1 << 29
    t = rounded(scores.max(axis=1, keepdims=True) - scores, mult, shift)
    weights = normalized(np.where(t >= OCTAVES << FRACTION, 0, exp2(t)))
    sums = weights.sum(axis=1)
    reciprocals = (num + (sums >> 1)) // sums
    return saturated(rounded(np.einsum("hj,jhi->hi", weights, v), reciprocals[:, None], out_shift),
                     "int16")


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, count=counts, kv_heads=heads, share=st.integers(1, 4), eights=st.integers(1, 2),
       near=st.booleans(), mult=st.integers(1 << 14, (1 << 15) - 1), shift=st.integers(16, 45))
@example(seed=0, count=1, kv_heads=4, share=2, eights=1, near=False, mult=1 << 14, shift=16)
@example(seed=0, count=516, kv_heads=1, share=1, eights=1, near=True, mult=1 << 14, shift=33)
@example(seed=1, count=516, kv_heads=1, share=2, eights=1, near=True, mult=32767, shift=16)
@example(seed=2, count=33, kv_heads=2, share=3, eights=1, near=True, mult=20000, shift=20)
@example(seed=3, count=33, kv_heads=2, share=3, eights=3, near=False, mult=20000, shift=26)
def test_attention_to_a_cache(machines, form, seed, count, kv_heads, share, eights, near, mult,
                              shift):
    rng, d, n = np.random.default_rng(seed), 8 * eights, kv_heads * share
    largest = most(d, "int8")["q"]
    q = rng.choice(np.array([-largest, largest, 77]), (n, d)).astype(np.int16)
    keys, values = rng.integers(-127, 128, (2, count + 2, kv_heads, d)).astype(np.int8)
    steps, wide = (rng.integers(1, 1 + limit, (count + 2, kv_heads)).astype(np.uint8)
                   for limit in (1 if near else largest // 127, 255))
    if near:
        q >>= 7
    else:  # the largest scores, and the smallest
        keys[0] = np.where(q[0] > 0, 127, -127)
        keys[count // 2] = np.where(q[-1] > 0, -127, 127)
        steps[0] = largest // 127
    want = attended(q, keys[:count], steps[:count], values[:count], wide[:count], mult, shift,
                    **OUT)
    machine = machines(f"{form}decode8")
    call = Call(machine)
    room = np.zeros(count * (2 if form else 1), np.int32)
    found, *_ = call("attend", q, 0, keys, steps, values, wide, room, TABLE, count, n, kv_heads, d,
                     mult, shift, *OUT.values())
    assert (found.read(np.int16) == want.ravel()).all()


def test_known_answers_of_a_cache_are_those_of_the_reference(on_device):
    numbers, found = on_device("attn8.known").numbers, 0
    for heads, kv_heads, d, shift in (4, 2, 8, 20), (3, 1, 8, 34), (4, 2, 16, 20):
        keys, values = (np.array(numbers("b", 9 * kv_heads * d, step), np.int8)
                        .reshape(9, kv_heads, d)[:7] for step in (37, 91))
        steps = (1 + 53 * np.arange(9 * kv_heads) % 60).reshape(9, kv_heads)[:7]
        q = 60 * np.array(numbers("b", heads * d, 53), np.int16).reshape(heads, d)
        out = attended(q, keys, steps, values, steps, 20000, shift, 1 << 29, 30).astype(np.int16)
        assert len(np.unique(out)) > 9
        found = crc32(out.tobytes(), found)
    assert found == on_device("attn8.known.decode8").ANSWER, hex(found)


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, rows=heads, kv_rows=heads, pairs=st.integers(1, 9),
       position=st.integers(0, 515), largest=st.integers(128, 32767))
def test_rotary_positions(machines, form, seed, rows, kv_rows, pairs, position, largest):
    rng = np.random.default_rng(seed)
    q, k = (rng.choice(np.array([-32768, -5000, 0, 77, 32767]), (n, 2 * pairs)).astype(np.int16)
            for n in (rows, kv_rows))
    turns = rng.integers(-(1 << 31), 1 << 31, pairs).astype(np.int32)
    out = Call(machines(f"{form}rotary"))(
        "rotate", q, 0, k, turns, SINE.astype(np.int16), position, rows, kv_rows, 2 * pairs,
        largest)
    for x, found in (q, out[0]), (k, out[2]):
        assert (found.read(np.int16) == rotary(x[:, None], turns, position, largest).ravel()).all()


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
    monkeypatch.setattr("attn8_host.numerics.rotary.SINE", 128 * np.arange(129))
    numbers = on_device("attn8.known").numbers
    x, centre = (250 * np.array(numbers("b", 18, step), int).reshape(3, 6) for step in (37, 91))
    turns = np.array([-1234567890, 123456789, 12345], np.int32)
    turned = rotary(x.astype(np.int16)[:, None], turns, 100, 20000)
    kept = np.clip(turned[:, 0].astype(int) - centre, -15000, 15000)
    step = (np.abs(kept).max(axis=1, keepdims=True) + 126) // 127
    rows = ((kept + step // 2) // step).astype(np.int8)
    found = turned.astype(np.int16).tobytes() + bytes(18) + rows.tobytes() + bytes(3)
    assert crc32(found + bytes(step.ravel().tolist())) == on_device("attn8.known.rotary").ANSWER
