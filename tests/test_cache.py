"""The kernels of the key and value cache, and attention to a part of it, as the chips run them."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.numerics.integers import EXP2
from tests.test_kernels import Call, alignment, fills, int8, machine_settings, sizes


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), slots=sizes, head_dim=sizes,
    offset=alignment, fill=fills, data=st.data(),
)
def test_put(machines, seed, slots, head_dim, offset, fill, data):
    rng = np.random.default_rng(seed)
    k, v = int8(rng, fill, head_dim), int8(rng, fill, head_dim)
    slot = data.draw(st.integers(0, slots - 1))
    keys = np.zeros((slots, head_dim), np.uint8)
    values, sums = np.zeros((head_dim, slots), np.uint8), np.zeros(slots, np.int32)
    call = Call(machines("cache"), offset)
    _, _, got_keys, got_sums, got_values, *_ = call(
        "put", k, v, keys, sums, values, slot, slots, head_dim
    )
    keys[slot] = values[:, slot] = 0
    keys[slot], values[:, slot] = k.astype(int) + 128, v.astype(int) + 128
    sums[slot] = 128 * keys[slot].astype(int).sum()
    assert (got_keys.read(np.uint8) == keys.ravel()).all()
    assert (got_values.read(np.uint8) == values.ravel()).all()
    assert (got_sums.read(np.int32) == sums).all()


@machine_settings
@given(n=st.integers(0, 130), start=st.integers(0, 9), at=st.integers(0, 9), offset=alignment)
def test_copy(machines, n, start, at, offset):
    source = np.arange(n + start + 3).astype(np.int8)
    target = np.full(n + at + 2, 77, np.int8)
    _, _, got, *_ = Call(machines("cache"), offset)("copy", source, start, target, at, n)
    target[at : at + n] = source[start : start + n]
    assert (got.read(np.int8) == target).all()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), slots=sizes, head_dim=sizes,
    offset=alignment, fill=fills, data=st.data(),
)
@example(seed=0, slots=512, head_dim=64, offset=0, fill="highest", data=None)
@example(seed=0, slots=512, head_dim=64, offset=0, fill="lowest", data=None)
def test_attention_to_the_first_slots(machines, seed, slots, head_dim, offset, fill, data):
    rng = np.random.default_rng(seed)
    count = data.draw(st.integers(1, slots)) if data else slots
    q, k, v = (int8(rng, fill, n, head_dim) for n in (1, slots, slots))
    v = np.maximum(v, -127)
    constants = exact_constants(head_dim, 0.05, 0.05, 0.05, 0.05)
    expected = Exact(**constants)(q, k[:count], v[:count])
    call = Call(machines("attention"), offset)
    packed = (k.astype(int) + 128).astype(np.uint8)
    values = np.ascontiguousarray((v.T.astype(int) + 128).astype(np.uint8))
    sums = 128 * packed.astype(np.int32).sum(axis=1, dtype=np.int32)
    scores, weights = np.zeros(slots, np.int32), np.zeros(slots, np.uint16)
    *_, scores, _, _, _, _, _, _ = call(
        "scores", packed, 0, q, sums, scores, np.zeros(head_dim, np.uint8), 0, 1, count, head_dim, 0
    )
    _, _, weights, total, *_ = call(
        "softmax", scores, 0, weights, np.zeros(1, np.int32), EXP2.astype(np.uint16), 0, 1, count,
        0, constants["score_mult"], constants["score_shift"], constants["score_limit"],
    )
    *_, out, _, _, _, _, _, _, _ = call(
        "weighted_sum", values, 0, weights, total, np.zeros(head_dim, np.int8), 0, 1, count, slots,
        head_dim, constants["out_num"], constants["out_shift"],
    )
    assert (out.read(np.int8) == expected[0]).all()
