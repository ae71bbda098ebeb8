"""The decode core: token by token the same as exact causal attention, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.cores.decode import Decode, decode_constants
from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.numerics import floating
from tests.test_exact import normal

SETUP = """
from attn8 import Decode
core = Decode(seq_len, head_dim, cache_len, need_weights=True, **constants)
d = head_dim
def step(t):
    out = array("b", bytes(d))
    core.step(q[t * d : t * d + d], k[t * d : t * d + d], v[t * d : t * d + d], out)
    return out
"""


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 24),
    head_dim=st.integers(1, 20),
    spare=st.integers(0, 5),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_rows_equal_exact_causal_attention(remote, seed, seq_len, head_dim, spare, spread):
    (q, k, v), scales = normal(np.random.default_rng(seed), seq_len, head_dim, spread)
    constants = exact_constants(head_dim, *scales)
    assert decode_constants(head_dim, *scales, cache_len=seq_len) == constants
    exact = Exact(**constants, causal=True)
    expected = exact(q, k, v)
    reference = Decode(seq_len + spare, **constants)
    assert (reference(q, k, v) == expected).all()
    whole, scores, weights, sums, *rows = remote(
        SETUP + """
out = array("b", bytes(len(q)))
give(core(q, k, v, out))
for _, _, values in core.outputs: give(values)
core.reset()
for t in range(seq_len):
    give(step(t))
""",
        q=q, k=k, v=v, seq_len=seq_len, head_dim=head_dim, cache_len=seq_len + spare,
        constants=constants,
    )
    assert (whole == expected.ravel()).all()
    assert (np.concatenate(rows) == expected.ravel()).all()
    for name, got in (("scores", scores), ("weights", weights), ("sums", sums)):
        assert (got == reference.outputs[name]).all(), name
    assert (weights[:seq_len] == exact.weights[-1]).all()


def test_the_longest_sequence_at_the_extremes(remote):
    seq_len, head_dim = 512, 2
    for value in (-128, 127):
        q = np.full((seq_len, head_dim), value, np.int8)
        constants = exact_constants(head_dim, 0.01, 0.01, 0.01, 0.01)
        out = remote(
            SETUP + "give(core(q, q, q, array('b', bytes(len(q)))))",
            q=q, k=q[:1], v=q[:1], seq_len=seq_len, head_dim=head_dim, cache_len=seq_len,
            constants=constants,
        )
        assert (out == Exact(**constants, causal=True)(q, q, q).ravel()).all()


def test_rollback_forgets_the_last_tokens_and_reset_all(remote):
    (q, k, v), scales = normal(np.random.default_rng(1), 8, 5)
    constants = exact_constants(5, *scales)
    # Five tokens, of which the last two are taken back for tokens 5 and 6; then a new sequence
    first, second, third = remote(
        SETUP + """
for t in range(5): step(t)
core.rollback(2)
step(5)
give(step(6))
core.reset()
give(step(7))
core.rollback(1)
give(step(2))
""",
        q=q, k=k, v=v, seq_len=1, head_dim=5, cache_len=6, constants=constants,
    )
    kept = [0, 1, 2, 5, 6]
    assert (first == Exact(**constants)(q[[6]], k[kept], v[kept])).all()
    assert (second == Exact(**constants)(q[[7]], k[[7]], v[[7]])).all()
    assert (third == Exact(**constants)(q[[2]], k[[2]], v[[2]])).all()

    reference = Decode(6, **constants)
    for t in range(5):
        reference.step(q[t], k[t], v[t])
    reference.rollback(2)
    reference.step(q[5], k[5], v[5])
    assert (reference.step(q[6], k[6], v[6]) == first).all()
    with pytest.raises(ValueError, match="rollback: expected 0 to 5 tokens, got 6"):
        reference.rollback(6)


def test_close_to_float():
    (q, k, v), scales = normal(np.random.default_rng(2), 40, 16)
    out = Decode(40, **exact_constants(16, *scales))(q, k, v)
    scale = scales[0] * scales[1] / 4
    exact = floating.attention(*(x.astype(float) for x in (q, k, v)), scale, True)
    assert np.abs(out - np.clip(exact * scales[2] / scales[3], -127, 127)).max() <= 0.65


def test_steps_allocate_nothing(remote):
    assert remote.needs_no_heap("""
core(x, x, x, whole)
core.reset()
for _ in range(60):
    core.step(out, out, out, out)
core.rollback(7)
""", """
from attn8 import Decode
core = Decode(4, 8, 64, **constants)
out = array("b", bytes(8))
whole = array("b", bytes(32))
""", x=np.arange(32, dtype=np.int8), constants=exact_constants(8, 0.03, 0.03, 0.03, 0.02))


@pytest.mark.parametrize(
    "code, message",
    [
        ("Decode(4, 2, 3, **c)", "cache_len: expected seq_len 4 or more, got 3"),
        ("Decode(4, 2, 517, **c)", "cache_len: expected 1 to 516, got 517"),
        ("Decode(4, 2, 4, causal=False, **c)", "causal: expected True, got False"),
        ("Decode(0, 2, 4, **c)", "seq_len: expected 1 to"),
        ("step(3, 2, 2, 2)", "q: expected 2 int8 values, got 3"),
        ("step(2, 1, 2, 2)", "k: expected 2 int8 values, got 1"),
        ("step(2, 2, 3, 2)", "v: expected 2 int8 values, got 3"),
        ("step(2, 2, 2, 1)", "out: expected 2 int8 values, got 1"),
        ("core.step(b'ab', b'ab', b'ab', b'ab')", "out: expected a writable array('b'), got bytes"),
        ("core(bytes(9), bytes(8), bytes(8), bytearray(8))", "q: expected 8 int8 values, got 9"),
        ("for _ in range(6): step(2, 2, 2, 2)",
         "decode: the cache holds 5 tokens and is full; reset or roll back"),
        ("core.rollback(1)", "rollback: expected 0 to 0, got 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(remote, code, message):
    said = remote.refused(
        code,
        "from attn8 import Decode\n"
        "core = Decode(4, 2, 5, **c)\n"
        "step = lambda *sizes: core.step(*[bytearray(n) for n in sizes])",
        c=exact_constants(2, 0.03, 0.03, 0.03, 0.02),
    )
    assert said.startswith(message)


def test_from_scales_at_the_repl(remote):
    given_ = remote("""
from attn8 import Decode
attend = Decode.from_scales(64, 4, 0.05, 0.05, 0.05, 0.05)
out = array("b", bytes(4))
for token in (b"\\x28\\0\\0\\0", b"\\0\\x28\\0\\0", b"\\0\\0\\x28\\0"):
    give(list(attend.step(token, token, token, out)))
""")
    assert given_[0] == [40, 0, 0, 0]
    assert given_[2][2] > given_[2][0] > 0
