"""MultiHeadAttention: the board against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.cores.exact import exact_constants
from attn8_host.layers.attention import MultiHeadAttention
from attn8_host.layers.dense import Dense

RUN = """
from attn8 import MultiHeadAttention
tensors = {}
for part in ("q", "k", "v", "out"):
    for kind in ("weight", "bias", "mult", "shift"):
        tensors["attn.%s.%s" % (part, kind)] = eval(part + "_" + kind)
layer = MultiHeadAttention(seq_len, embed_dim, num_heads, tensors, constants, causal=causal,
                           need_weights=need)
out = layer(x)
"""


def parameters(rng, embed_dim):
    """Random layers q, k, v, out whose results spread over int8."""
    layers = {}
    for part in ("q", "k", "v", "out"):
        shift = 22 + int(np.ceil(np.log2(embed_dim) / 2))
        layers[part] = Dense(
            rng.integers(-127, 128, (embed_dim, embed_dim)).astype(np.int8),
            rng.integers(-2000, 2000, embed_dim).astype(np.int32),
            rng.integers(1 << 14, 1 << 15, embed_dim).astype(np.int16),
            np.full(embed_dim, shift, np.int8),
        )
    return layers


def named(layers):
    return {
        f"{part}_{kind}": getattr(layer, kind)
        for part, layer in layers.items()
        for kind in ("weight", "bias", "mult", "shift")
    }


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 20),
    num_heads=st.integers(1, 5),
    head_dim=st.integers(1, 12),
    causal=st.booleans(),
    need=st.booleans(),
)
def test_board_equals_reference(remote, seed, seq_len, num_heads, head_dim, causal, need):
    rng = np.random.default_rng(seed)
    embed_dim = num_heads * head_dim
    layers = parameters(rng, embed_dim)
    constants = exact_constants(head_dim, 0.03, 0.03, 0.03, 0.02)
    x = rng.integers(-127, 128, (seq_len, embed_dim)).astype(np.int8)
    reference = MultiHeadAttention(num_heads, layers, constants, causal=causal)
    expected = reference(x)
    given_ = remote(
        RUN + "give(out)\nfor t in (layer.q, layer.k, layer.v, layer.heads): give(t)\n"
        "if need:\n    for c in layer.cores:\n        give(c.scores)\n        give(c.weights)",
        x=x, seq_len=seq_len, embed_dim=embed_dim, num_heads=num_heads, constants=constants,
        causal=causal, need=need, **named(layers),
    )
    assert (given_[0] == expected.ravel()).all()
    for name, tensor in zip(("q", "k", "v", "heads"), given_[1:5], strict=True):
        assert (tensor == reference.outputs[name].ravel()).all(), name
    for i, tensor in enumerate(given_[5:]):
        name = f"{('scores', 'weights')[i % 2]}.{i // 2}"
        assert (tensor == reference.outputs[name].ravel()).all(), name


STREAMING = {"decode": {"cache_len": 9}, "sliding": {"window": 4}}


@pytest.mark.parametrize("core", STREAMING)
def test_steps_equal_the_whole_sequence(remote, core):
    rng = np.random.default_rng(3)
    layers = parameters(rng, 15)
    constants = exact_constants(5, 0.03, 0.03, 0.03, 0.02)
    x = rng.integers(-127, 128, (9, 15)).astype(np.int8)
    reference = MultiHeadAttention(3, layers, constants, core, True, **STREAMING[core])
    expected = reference(x)
    out, grown, rest, *rows = remote(
        RUN.replace("need_weights=need", "need_weights=need, core=core, **options")
        + """
import gc
give(out)
gc.collect()
before = gc.mem_alloc()
layer.reset()
for t in range(9): layer.step(token)
give(gc.mem_alloc() - before)
layer.reset()
try:
    layer.step(x)
except ValueError as error:
    give(str(error))
for t in range(9):
    give(layer.step(x[t * 15 : t * 15 + 15]))
""",
        x=x, token=x[0], seq_len=9, embed_dim=15, num_heads=3, constants=constants, causal=True,
        need=False, core=core, options=STREAMING[core], **named(layers),
    )
    assert (out == expected.ravel()).all()
    assert grown <= 64
    assert rest == "attn: expected 15 int8 values, got 135"
    assert (np.concatenate(rows) == expected.ravel()).all()


@pytest.mark.parametrize("padded", [False, True])
def test_keys_and_values_from_another_sequence(remote, padded):
    rng = np.random.default_rng(4)
    layers = parameters(rng, 6)
    constants = exact_constants(3, 0.03, 0.03, 0.03, 0.02)
    x = rng.integers(-127, 128, (4, 6)).astype(np.int8)
    memory = rng.integers(-127, 128, (7, 6)).astype(np.int8)
    mask = np.array([0, 1, 0, 0, 1, 0, 1], np.int8) if padded else None
    reference = MultiHeadAttention(2, layers, constants)
    expected = reference(x, memory, mask)
    out, said = remote(
        RUN.replace("need_weights=need", "need_weights=need, key_len=7")
        .replace("layer(x)", "layer(x, memory, mask)")
        + "give(out)\ntry:\n    layer(x)\nexcept ValueError as error:\n    give(str(error))",
        x=x, memory=memory, mask=mask, seq_len=4, embed_dim=6, num_heads=2, constants=constants,
        causal=False, need=True, **named(layers),
    )
    assert (out == expected.ravel()).all()
    assert said == "attn.memory: expected 42 int8 values, got 24"


def test_embed_dim_must_be_divisible(remote):
    said = remote.refused(
        "MultiHeadAttention(4, 10, 3, {}, {})", "from attn8 import MultiHeadAttention"
    )
    assert said == "attn.embed_dim: expected a multiple of num_heads 3, got 10"


@pytest.mark.parametrize(
    "change, message",
    [
        ("del tensors['attn.k.bias']", "missing tensor attn.k.bias"),
        ("del tensors['attn.q.mult']", "missing tensor attn.q.mult"),
        ("tensors['attn.v.weight'] = array('b', bytes(15))",
         "attn.v.weight: expected 16 int8 values, got 15"),
        ("tensors['attn.v.bias'] = array('b', bytes(4))",
         "attn.v.bias: expected array('i'), got array of 'b'"),
        ("tensors['attn.q.mult'][0] = 5", "attn.q.mult: expected 16384 to 32767, got 5"),
        ("tensors['attn.q.shift'][0] = 50", "attn.q.shift: expected 16 to 45, got 50"),
        ("tensors['attn.q.weight'] = bytes(16)",
         "attn.q.weight: expected a writable array('b'), got bytes"),
        ("tensors['attn.q.bias'][1] = 1 << 30", "attn.q.bias: expected"),
        ("x = array('b', bytes(7))", "attn: expected 8 int8 values, got 7"),
    ],
)
def test_missing_and_misshapen_tensors_are_named(remote, change, message):
    lines = RUN.strip().splitlines()
    lines.insert([line.startswith("layer") for line in lines].index(True), change)
    said = remote.refused(
        "\n".join(lines),
        x=np.zeros((2, 4), np.int8), seq_len=2, embed_dim=4, num_heads=2, causal=False, need=False,
        constants=exact_constants(2, 0.03, 0.03, 0.03, 0.02),
        **named(parameters(np.random.default_rng(0), 4)),
    )
    assert said.startswith(message), said


def test_unknown_core_is_refused(remote):
    call = 'MultiHeadAttention(4, 8, 2, {}, {}, core="nosuch")'
    said = remote.refused(call, "from attn8 import MultiHeadAttention")
    assert said == "core: there is no core nosuch; see docs/mechanisms.md"
