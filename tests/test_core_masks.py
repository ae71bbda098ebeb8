"""Masks of keys and of pairs, one a call, with every core: the board against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host import cores
from attn8_host.layers.attention import MultiHeadAttention
from attn8_host.masks import Mask
from attn8_host.numerics.integers import MASKED
from attn8_host.proof.cases import attention_cases

from .test_attention import named, parameters
from .test_heads import seeds
from .test_kernels import Call
from .test_zero_allocation import GROWN

# Each core by itself, with the constants of a case of `verify`, under one mask after another
CALLS = """
from attn8.cores import get
kind = get(core)
attend = kind(seq_len, head_dim, need_weights=need, **options)
out = array("h" if wide else "b", bytes((2 if wide else 1) * seq_len * head_dim))
x, y, z = [array("h" if wide else "b", each) for each in (q, k, v)]
for mask in masks:
    attend(x, y, z, out, mask)
    give(out)
    for name, code, values in attend.outputs:
        give(values)
"""
CORES = {name: core for name, core in cores.all_cores().items() if core.masks_keys}
S, D = 11, 6


def masks(core, rng):
    """Of keys: none, some, all but one, all; of pairs, where the core takes them, with a row that
    sees nothing; and once more none."""
    some = (rng.random(S) < 0.4).astype(np.int8)
    found = [None, some, (np.arange(S) != 4).astype(np.int8), np.ones(S, np.int8)]
    if core.masks_pairs:
        pairs = (rng.random((S, S)) < 0.5).astype(np.int8)
        pairs[3] = 1
        found += [pairs, 1 - np.eye(S, dtype=np.int8)]
    return [*found, None]


def keywords(core, variant, rng):
    """(of the reference and of the board's core) with random tensors and constants."""
    options = variant.options | core.sized(S)
    parameters = core.parameters(rng, 1, D, options)
    step = 3 / 127 / (256 if core.format == "int16" else 1)
    scales = dict.fromkeys(("q", "k", "v", "heads"), step)
    constants, tensors = core.quantize(D, scales, options, parameters)
    return {**constants, **options, **{key: values[0] for key, values in tensors.items()},
            "causal": variant.causal}


VARIANTS = [(name, variant) for name, core in CORES.items() for variant in core.variants
            if not (core.variants[variant].padded or core.variants[variant].lengths
                    or core.variants[variant].key_len)
            and not (name == "micro" and variant == "window")]


@pytest.mark.parametrize("need", [True, False], ids=["kept", "blocks"])
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_mask_a_call(remote, name, variant, need):
    core = CORES[name]
    rng = np.random.default_rng([5, *name.encode(), *variant.encode()])
    options = keywords(core, core.variants[variant], rng)
    most = core.most(D)
    kind = np.int16 if core.format == "int16" else np.int8
    q, k, v = (rng.integers(-most[part] // 2, most[part] // 2 + 1, (S, D)).astype(kind)
               for part in "qkv")
    hiding = masks(core, rng)
    reference = core.reference(**options)
    board = {key: values for key, values in options.items() if not isinstance(values, np.ndarray)}
    arrays = {key: values for key, values in options.items() if isinstance(values, np.ndarray)}
    setup = "options = dict(options)\n" + "".join(f"options[{key!r}] = {key}\n" for key in arrays)
    found = iter(remote(
        setup + CALLS, core=name, seq_len=S, head_dim=D, need=need, options=board,
        wide=kind is np.int16, q=q.tobytes(), k=k.tobytes(), v=v.tobytes(),
        masks=[None if mask is None else mask.tobytes() for mask in hiding], **arrays))
    for i, mask in enumerate(hiding):
        wanted = reference(q, k, v) if mask is None else reference(q, k, v, mask)
        assert (next(found) == wanted.ravel()).all(), i
        for part, values in (reference.outputs if need else {}).items():
            assert (next(found) == values.ravel()).all(), (part, i)


@pytest.mark.parametrize("name", CORES)
def test_what_is_hidden_does_not_count(name):
    core = CORES[name]
    rng = np.random.default_rng(3)
    variant = next(iter(core.variants.values()))
    reference = core.reference(**keywords(core, variant, rng))
    kind = np.int16 if core.format == "int16" else np.int8
    q, k, v = (rng.integers(-60, 61, (S, D)).astype(kind) for _ in "qkv")
    hidden = (np.arange(S) % 3 == 1).astype(np.int8)
    wanted = reference(q, k, v, hidden)
    assert (wanted != reference(q, k, v)).any()
    k[hidden != 0], v[hidden != 0] = 127, -127
    assert (reference(q, k, v, hidden) == wanted).all()


LAYER = """
from attn8 import MultiHeadAttention
tensors = {}
for part in ("q", "k", "v", "out"):
    for kind in ("weight", "bias", "mult", "shift"):
        tensors["attn.%s.%s" % (part, kind)] = eval(part + "_" + kind)
layer = MultiHeadAttention(seq_len, embed_dim, num_heads, tensors, constants, core=core, **options)
"""


@pytest.mark.parametrize("name", ["exact", "flash", "sparse", "local_global", "micro"])
def test_a_layer_takes_masks_of_its_heads(remote, name):
    core, heads = CORES[name], 3
    rng = np.random.default_rng(6)
    variant = next(iter(core.variants.values()))
    made = keywords(core, variant, rng)
    options = {**variant.options}
    parameters_ = {}
    if "gate" in made:
        parameters_["gate"] = np.stack([made.pop("gate")] * heads)
    constants = {key: made[key] for key in core.constants}
    layers = parameters(rng, heads * D)
    x = rng.integers(-127, 128, (S, heads * D)).astype(np.int8)
    reference = MultiHeadAttention(heads, layers, constants, name, parameters=parameters_,
                                   **options)
    dense = rng.random((heads, S, S)) < 0.6
    hidden = (~dense).astype(np.int8)
    bits = [Mask.from_dense(each).to_bits() for each in dense]
    of = ("from attn8.masks.mask import Mask\n"
          f"masks = [Mask.from_bits({S}, each) for each in bits]\n")
    tensors = "".join(f"tensors['attn.core.{key}'] = {key}\n" for key in parameters_)
    found = remote(
        LAYER.replace("layer =", tensors + "layer =") + of + """
give(layer(x))
give(layer(x, None, hidden))
give(layer(x, None, hidden[: seq_len * seq_len]))
layer.set_mask(masks)
give(layer(x))
give(layer(x, None, bytes(seq_len)))
layer.set_mask(masks[1])
give(layer(x))
layer.set_mask(None)
give(layer(x))
for wrong in ([1], [masks[0], None], "none", masks[:2]):
    try:
        layer.set_mask(wrong)
    except (TypeError, ValueError) as error:
        give(str(error))
""", x=x, seq_len=S, embed_dim=heads * D, num_heads=heads, constants=constants, core=name,
        options=options, hidden=hidden.ravel(), bits=[bytes(each) for each in bits],
        **{key: values.ravel() for key, values in parameters_.items()}, **named(layers))
    plain = reference(x).ravel()
    each = reference(x, None, hidden).ravel()
    wanted = [plain, each, reference(x, None, hidden[0]).ravel(), each, plain,
              reference(x, None, hidden[1]).ravel(), plain]
    assert (each != plain).any()
    for got, want in zip(found[: len(wanted)], wanted, strict=True):
        assert (got == want).all()
    assert found[len(wanted) :] == [
        "mask: expected Mask, got int", "mask: expected Mask, got NoneType",
        "key_padding_mask: expected array('b'), got str",
        f"key_padding_mask: expected {S} int8 values, got {2 * S * S}"]


@pytest.mark.parametrize("name", CORES)
def test_a_mask_allocates_nothing(remote, name):
    core = CORES[name]
    rng = np.random.default_rng(7)
    options = keywords(core, next(iter(core.variants.values())), rng)
    board = {key: values for key, values in options.items() if not isinstance(values, np.ndarray)}
    arrays = {key: values for key, values in options.items() if isinstance(values, np.ndarray)}
    code = GROWN + """
from attn8.cores import get
options = dict(options)
""" + "".join(f"options[{key!r}] = {key}\n" for key in arrays) + """
attend = get(core)(seq_len, head_dim, **options)
n = seq_len * head_dim
x, out = [array("h" if wide else "b", bytes((2 if wide else 1) * n)) for _ in range(2)]
def step():
    attend.run(x, x, x, out, mask)
grown(1)
give(grown(100) - grown(0))
"""
    shapes = [(S,)] + [(S, S)] * core.masks_pairs
    for shape in shapes:
        mask = (rng.random(shape) < 0.5).astype(np.int8)
        assert remote(code, core=name, seq_len=S, head_dim=D, options=board, mask=mask.ravel(),
                      wide=core.format == "int16", **arrays) == 0


@pytest.mark.parametrize(
    ("core", "size", "message"),
    [
        ("Linear", 9, "key_padding_mask: expected 3 int8 values, got 9"),
        ("Flash", 4, "key_padding_mask: expected 3 int8 values, got 4"),
        ("Exact", 8, "key_padding_mask: expected 3 int8 values, got 8"),
    ],
)
def test_masks_that_do_not_fit_are_refused(remote, core, size, message):
    said = remote.refused(
        "attend(x, x, x, array('b', x), bytes(size))",
        f"from attn8 import {core}\nx = bytes(12)\n"
        f"attend = {core}.from_scales(3, 4, 0.05, 0.05, 0.05, 0.05)", size=size)
    assert message == said


def test_lengths_are_the_mask_of_a_layer_that_has_them(remote):
    rng = np.random.default_rng(2)
    layers = parameters(rng, 4)
    said = remote.refused(
        "layer(x, None, bytes(3))", LAYER + "x = bytes(12)", seq_len=3, embed_dim=4, num_heads=1,
        constants={}, core="micro", options={"lengths": True}, **named(layers))
    assert said == "key_padding_mask: expected none, as the layer has lengths"


@settings(max_examples=20)
@given(seed=seeds, rows=st.integers(1, 9), keys=st.integers(1, 12), step=st.booleans())
def test_kernels_as_machine_code(machines, seed, rows, keys, step):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, (rows, keys)).astype(np.int8)
    at = int(rng.integers(0, 5))
    shifted = np.append(np.ones(at, np.int8), mask)
    scores = rng.integers(-(2**20), 2**20, (rows, keys)).astype(np.int32)
    found, *_ = Call(machines("hide"))("hide_pairs", scores, shifted, at, rows, keys)
    hidden = np.where(mask, MASKED, scores)
    assert (found.read(np.int32) == hidden.ravel()).all()

    seen = rng.random((rows, keys)) < 0.7
    stride = keys if step else 0
    left = seen & (mask == 0 if step else mask[0] == 0)
    pairs = np.stack([np.nonzero(seen)[1], np.full(seen.sum(), 7)], axis=1).astype(np.uint16)
    room = int(seen.sum()) if rng.integers(0, 2) else 0
    pairs = np.append(pairs.ravel(), np.uint16(9))  # what lies behind stays
    found, counts, *_ = Call(machines("hide"))(
        "drop", pairs, seen.sum(axis=1).astype(np.uint16), shifted, at, stride, rows, room)
    found = found.read(np.uint16)
    n = int(left.sum())
    assert (counts.read(np.uint16) == left.sum(axis=1)).all() and found[-1] == 9
    assert (found[: 2 * n : 2] == np.nonzero(left)[1]).all()
    assert not room or not found[2 * n : -1].any()

    starts = rng.integers(0, keys, rows)
    counts = rng.integers(0, keys - starts, endpoint=True)
    width = max(int(counts.max()), 1)
    chosen = np.sort(rng.integers(0, keys, keys)).astype(np.uint16)
    scores = rng.integers(-(2**20), 2**20, (rows, width)).astype(np.int32)
    ranges = np.stack([starts, counts], axis=1).astype(np.uint16)
    for pick in (0, 1):
        found, *_ = Call(machines("local_global"))(
            "hide", scores, np.append(shifted, np.zeros(keys, np.int8)), at, stride, ranges, chosen,
            pick, 1, rows, width)
        wanted = scores.copy()
        whole = np.append(mask, np.zeros((1, keys), np.int8), axis=0)
        for r in range(rows):
            key = starts[r] + np.arange(counts[r])
            row = whole[r + 1 if step else 0]
            covered = row[chosen[key] if pick else key] != 0
            wanted[r, : len(key)][covered] = MASKED
        assert (found.read(np.int32) == wanted.ravel()).all()


def test_every_core_is_proven_with_padding():
    for name, core in cores.all_cores().items():
        assert any(each.padded for each in core.variants.values()), name
        assert any(each.lengths for each in core.variants.values()), name
        assert any(case.lengths for case in attention_cases(name, np.random.default_rng(0)))
