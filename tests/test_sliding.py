"""The sliding core: the last tokens only, for ever, in memory that does not grow."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.cores.sliding import Sliding, sliding_constants
from attn8_host.numerics import floating
from attn8_host.numerics.integers import EXP2
from tests.test_exact import normal

RUN = """
from attn8 import Sliding
core = Sliding(seq_len, head_dim, window, need_weights=True, **constants)
give(core(q, k, v, array("b", bytes(len(q)))))
for _, _, values in core.outputs: give(values)
"""


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 30),
    head_dim=st.integers(1, 20),
    window=st.integers(1, 33),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_each_token_attends_to_the_last_ones(remote, seed, seq_len, head_dim, window, spread):
    (q, k, v), scales = normal(np.random.default_rng(seed), seq_len, head_dim, spread)
    constants = sliding_constants(head_dim, *scales, window=window)
    reference = Sliding(window, **constants)
    expected = reference(q, k, v)
    for t in range(seq_len):  # the definition, without any ring
        seen = slice(max(0, t + 1 - window), t + 1)
        assert (Exact(**constants)(q[[t]], k[seen], v[seen])[0] == expected[t]).all()
    out, scores, weights, sums = remote(
        RUN, q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, window=window, constants=constants
    )
    assert (out == expected.ravel()).all()
    for name, got in (("scores", scores), ("weights", weights), ("sums", sums)):
        assert (got == reference.outputs[name]).all(), name


@pytest.mark.parametrize("value", [-128, 127])
def test_the_longest_window_at_the_extremes(remote, value):
    window, head_dim = 512, 2
    q = np.full((window + 9, head_dim), value, np.int8)
    constants = exact_constants(head_dim, 0.01, 0.01, 0.01, 0.01)
    out, *_ = remote(
        RUN, q=q, k=q, v=q, seq_len=len(q), head_dim=head_dim, window=window, constants=constants
    )
    assert (out == max(value, -127)).all()


@pytest.mark.parametrize("window, head_dim", [(7, 4), (32, 3)])
def test_it_wraps_for_ever(remote, window, head_dim):
    # 10,000 steps: the digest of every output, from tokens that both sides make alike
    steps = 10000
    constants = exact_constants(head_dim, 0.05, 0.05, 0.05, 0.05)
    digest, last, grown = remote(
        """
import gc
from binascii import crc32
from attn8 import Sliding
core = Sliding(1, head_dim, window, **constants)
q, k, v, out = (array("b", bytes(head_dim)) for _ in range(4))
def run(steps, x, digest):
    for _ in range(steps):
        for operand in (q, k, v):
            for i in range(head_dim):
                x = (x * 20077 + 12345) & 32767
                operand[i] = (x >> 7) % 255 - 127
        digest = crc32(core.step(q, k, v, out), digest)
    return digest
give(run(steps, 1, 0))
give(out)
gc.collect()
before = gc.mem_alloc()
for _ in range(100): core.step(q, k, v, out)
give(gc.mem_alloc() - before)
""",
        steps=steps, window=window, head_dim=head_dim, constants=constants,
    )
    core = Sliding(window, **constants)
    x, expected = 1, 0
    for _ in range(steps):
        tokens = np.empty((3, head_dim), np.int8)
        for i in range(3 * head_dim):
            x = (x * 20077 + 12345) & 32767
            tokens.flat[i] = (x >> 7) % 255 - 127
        out = core.step(*tokens)
        expected = zlib.crc32(out.tobytes(), expected)
    assert digest == expected
    assert (last == out).all()
    assert grown <= 64


def test_close_to_float():
    (q, k, v), scales = normal(np.random.default_rng(2), 60, 16)
    out = Sliding(9, **exact_constants(16, *scales))(q, k, v)
    at, to = np.arange(60)[:, None], np.arange(60)
    exact = floating.attention(
        *(x.astype(float) for x in (q, k, v)), scales[0] * scales[1] / 4, True, to <= at - 9
    )
    assert np.abs(out - np.clip(exact * scales[2] / scales[3], -127, 127)).max() <= 0.65


def test_time_grows_with_the_number_of_tokens(machines):
    # Instructions of all kernels of a step, for every number of filled slots: the target is at most
    # 1.1 times linear from 64 to 256 tokens
    window, head_dim = 16, 16
    rng = np.random.default_rng(0)
    constants = exact_constants(head_dim, 0.03, 0.03, 0.03, 0.02)
    q, k, v = rng.integers(-127, 128, (3, head_dim)).astype(np.int8)
    keys, values = (np.full(window * head_dim, 128, np.uint8) for _ in range(2))
    sums, scores = (np.zeros(window, np.int32) for _ in range(2))
    weights, row = np.zeros(window, np.uint16), np.zeros(head_dim, np.uint8)

    def count(kernel, name, *arguments):
        machine = machines(kernel)
        machine.call(name, *(machine.buffer(a) if isinstance(a, np.ndarray) else a
                             for a in arguments))
        return machine.instructions

    def step(slots):
        return (
            count("cache", "put", k, v, keys, sums, values, 0, window, head_dim)
            + count("attention", "scores", keys, 0, q, sums, scores, row, 0, 1, slots, head_dim, 0)
            + count("attention", "softmax", scores, 0, weights, np.zeros(1, np.int32),
                    EXP2.astype(np.uint16), 0, 1, slots, 0, constants["score_mult"],
                    constants["score_shift"], constants["score_limit"])
            + count("attention", "weighted_sum", values, 0, np.full(window, 32768, np.uint16),
                    np.full(1, slots << 15, np.int32), np.zeros(head_dim, np.int8), 0, 1, slots,
                    window, head_dim, constants["out_num"], constants["out_shift"])
        )

    steps = [step(min(t + 1, window)) for t in range(window)]
    short, long = (sum(steps) + (n - window) * steps[-1] for n in (64, 256))
    assert long <= 1.1 * 4 * short


@pytest.mark.parametrize(
    "code, message",
    [
        ("Sliding(4, 2, 0, **c)", "window: expected 1 to 516, got 0"),
        ("Sliding(4, 2, 517, **c)", "window: expected 1 to 516, got 517"),
        ("Sliding(4, 0, 5, **c)", "head_dim: expected 1 to 4096, got 0"),
        ("Sliding(4, 2, 5, causal=False, **c)", "causal: expected True, got False"),
        ("core.step(bytes(2), bytes(2), bytes(3), bytearray(2))",
         "v: expected 2 int8 values, got 3"),
        ("core(bytes(8), bytes(8), bytes(7), bytearray(8))", "v: expected 8 int8 values, got 7"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    said = remote.refused(
        code,
        "from attn8 import Sliding\ncore = Sliding(4, 2, 5, **c)",
        c=exact_constants(2, 0.03, 0.03, 0.03, 0.02),
    )
    assert said.startswith(message)
