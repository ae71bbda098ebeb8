"""Attention of one token to a cache of int16, kernel by kernel, on emulators of the chips."""

from binascii import crc32

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host.layers.grouped_attention import most
from tests.test_decode8 import OUT, TABLE, attended, counts, heads, machine_settings, seeds
from tests.test_kernels import Call

GROUP = 4  # slots whose values of a dimension lie together
UNITS = {"xtensawin": 4, "rv32imc": 8, "esp32s2": 8}  # dimensions that machine code takes at a time


def grouped(values):
    """Values [slots, kv_heads, head_dim] as the cache has them, [slots / 4, heads, head_dim, 4]."""
    slots, *row = values.shape
    return np.moveaxis(values.reshape(slots // GROUP, GROUP, *row), 1, -1)


def of_int16(q, keys, values, *constants, **output):
    """As `attended`, of keys and values with steps of 1."""
    steps = np.ones(keys.shape[:2], int)
    return attended(q, keys, steps, values, steps, *constants, **output)


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, count=counts, kv_heads=heads, share=st.integers(1, 4), units=st.integers(1, 4),
       mult=st.integers(1 << 14, (1 << 15) - 1), shift=st.integers(16, 45),
       num=st.integers(1 << 29, (1 << 30) - 1), out_shift=st.integers(16, 45))
@example(seed=0, count=1, kv_heads=4, share=2, units=1, mult=1 << 14, shift=16, num=1 << 29,
         out_shift=16)
@example(seed=0, count=516, kv_heads=1, share=1, units=1, mult=1 << 14, shift=33, **OUT)
@example(seed=1, count=516, kv_heads=1, share=2, units=2, mult=32767, shift=16,
         num=(1 << 30) - 1, out_shift=31)
@example(seed=2, count=515, kv_heads=1, share=2, units=1, mult=20000, shift=45, **OUT)
@example(seed=3, count=35, kv_heads=2, share=3, units=1, mult=20000, shift=34, **OUT)
@example(seed=4, count=34, kv_heads=2, share=3, units=8, mult=20000, shift=26, **OUT)
def test_attention_to_a_cache(machines, form, seed, count, kv_heads, share, units, mult, shift,
                              num, out_shift):
    machine = machines(f"{form}decode16")
    rng, n = np.random.default_rng(seed), kv_heads * share
    d = units * (UNITS[machine.arch] if form else 1)
    largest = most(d, "int16")["q"]
    slots = (count + GROUP - 1) // GROUP * GROUP  # what lies in those beyond counts for nothing
    fill = rng.choice([1, 77, largest])
    q = rng.choice(np.array([-largest, largest, 77]), (n, d)).astype(np.int16)
    keys = rng.integers(-fill, fill, (slots, kv_heads, d), endpoint=True).astype(np.int16)
    # the largest scores, and the smallest
    keys[0], keys[count // 2] = np.where(q[0] > 0, fill, -fill), np.where(q[-1] > 0, -fill, fill)
    values = rng.choice(np.array([-32768, -32767, -1, 0, 300, 32767], np.int16), keys.shape)
    if seed == 1:
        values[:] = 32767  # the largest sums
    want = of_int16(q, keys[:count], values[:count], mult, shift, num, out_shift)
    room = np.zeros(2 * count + 2 if form else count, np.int32)
    found, *_ = Call(machine)("attend", q, 0, keys, grouped(values), room, TABLE, count, n,
                              kv_heads, d, mult, shift, num, out_shift)
    assert (found.read(np.int16) == want.ravel()).all()


@pytest.mark.parametrize("form", ["", "turbo."])
@machine_settings
@given(seed=seeds, size=st.integers(1, 70), slot=st.integers(0, 7))
def test_a_row_of_the_cache(machines, form, seed, size, slot):
    rng = np.random.default_rng(seed)
    k, v = rng.integers(-32768, 32768, (2, size)).astype(np.int16)
    keys, values = rng.integers(-32768, 32768, (2, 8, 1, size)).astype(np.int16)
    kept = grouped(values)
    _, _, found_keys, found_values, *_ = Call(machines(f"{form}decode16"))(
        "put", k, v, keys, kept, slot, size)
    keys[slot], values[slot] = k, v
    assert (found_keys.read(np.int16) == keys.ravel()).all()
    assert (found_values.read(np.int16) == grouped(values).ravel()).all()


def test_known_answers_are_those_of_the_reference(on_device):
    numbers, found = on_device("attn8.known").numbers, 0
    for n, kv_heads, d, shift in (4, 2, 8, 27), (3, 1, 16, 34), (2, 1, 24, 30):
        keys, values = (60 * np.array(numbers("b", 6 * kv_heads * d, step), np.int16)
                        .reshape(6, kv_heads, d) for step in (37, 91))
        q = 20 * np.array(numbers("b", n * d, 53), np.int16).reshape(n, d)
        out = of_int16(q, keys, values, 20000, shift, 1 << 29, 30).astype(np.int16)
        assert len(np.unique(out)) > 9
        found = crc32(out.tobytes(), found)
    assert found == on_device("attn8.known.decode16").ANSWER, hex(found)
