"""A layer made at the REPL of floats: what attn8_host makes of the same floats and scales."""

import numpy as np
import pytest

from attn8_host import cores
from attn8_host.layers.attention import PARTS, MultiHeadAttention, split
from attn8_host.layers.dense import Dense
from attn8_host.numerics import scales as host

from .compiled import compiled

S, E, H = 6, 8, 2

MAKE = """
from attn8 import MultiHeadAttention, quantize
given = {{name: globals()[name.replace(".", "_")] for name in names}}
layer = MultiHeadAttention.from_floats({sizes}, given, x{memory}, **options)
scales = layer.scales
give(sorted(scales))
give([scales[part] for part in sorted(scales)])
out = array("b")
for at in range(0, len(x), {size}):
    out.extend(layer(quantize.int8(x[at : at + {size}], scales["x"]){memory8}))
give(out)
"""


def parameters(rng, key_dim=E // H, value_dim=E // H, memory_dim=E):
    sizes = {"q": (H * key_dim, E), "k": (H * key_dim, memory_dim),
             "v": (H * value_dim, memory_dim), "out": (E, H * value_dim)}
    made = {}
    for part, (n, m) in sizes.items():
        made[f"{part}.weight"] = rng.normal(0, 1, (n, m)).astype(np.float32)
        made[f"{part}.bias"] = rng.normal(0, 0.2, n).astype(np.float32)
    return made


def on_board(remote, floats, x, memory=None, sizes=(S, E, H), **options):
    """(scales, int8 outputs of each example)"""
    code = MAKE.format(
        sizes=", ".join(map(str, sizes)), size=sizes[0] * sizes[1],
        memory=", memory" if memory is not None else "",
        memory8=', quantize.int8(memory, scales["memory"])' if memory is not None else "")
    named = {name.replace(".", "_"): values.ravel() for name, values in floats.items()}
    more = {} if memory is None else {"memory": memory.ravel()}
    names, values, out = remote(code, names=list(floats), x=x.ravel(), options=options, **named,
                                **more)
    return dict(zip(names, values, strict=True)), out.reshape(-1, *sizes[:2])


def on_host(floats, scales, x, core, memory=None, causal=False, **options):
    """(int8 outputs, those of the float form) with the same scales."""
    before = {"q": scales["x"], "k": scales.get("memory", scales["x"]), "out": scales["heads"]}
    before["v"] = before["k"]
    linears = {}
    for part in PARTS:
        made = host.linear(floats[f"{part}.weight"], floats[f"{part}.bias"].astype(float),
                           before[part], scales[part])
        linears[part] = Dense(*(made[key] for key in ("weight", "bias", "mult", "shift")))
    kind = cores.get(core)
    tensors = {key[5:]: values.reshape(H, -1, *values.shape[2:]) if key == "core.features"
               else values for key, values in floats.items() if key.startswith("core.")}
    key_dim = len(floats["q.weight"]) // H
    if core == "local_global":  # half of each without a gate
        tensors.setdefault("gate", np.zeros((H, E // H)))
    constants, made = kind.quantize(key_dim, scales, options, tensors)
    layer = MultiHeadAttention(H, linears, constants, core, causal, False, made,
                               **kind.decisive(options))
    source = x if memory is None else memory
    x8 = host.quantize(x, scales["x"])
    memory8 = None if memory is None else host.quantize(memory, scales["memory"])

    def project(part, of):
        return split(of @ floats[f"{part}.weight"].T + floats[f"{part}.bias"], H)

    q, k, v = project("q", x), project("k", source), project("v", source)
    heads = kind.floating(q, k, v, causal=causal, steps=[scales[p] for p in "qkv"], **options,
                          **tensors)
    merged = heads.transpose(1, 0, 2).reshape(len(x), -1)
    return layer(x8, memory8), merged @ floats["out.weight"].T + floats["out.bias"]


CASES = [
    ("exact", {}), ("exact", {"causal": True, "precise": True}), ("flash", {"block_size": 4}),
    ("decode", {"causal": True, "cache_len": 8}), ("sliding", {"causal": True, "window": 3}),
    ("linear", {}), ("linear", {"phi": "elu+1", "causal": True}),
    ("linear", {"normalize": False}), ("linear", {"phi": "elu+1", "normalize": False}),
    ("performer", {}), ("local_global", {"window": 1, "global_indices": [0, 3]}),
    ("local_global", {"window": 1, "global_indices": [2], "causal": True}),
    ("sparse", {"mask": ["local_window", 2]}), ("micro", {"causal": True}),
]


# The largest error of outputs against floats, in steps
ERRORS = {"micro": 127, "performer": 10}


@pytest.mark.board("virtual")
@pytest.mark.parametrize(("core", "options"), CASES)
def test_the_board_makes_what_the_host_makes(remote, core, options):
    rng = np.random.default_rng(4)
    floats = parameters(rng)
    if core == "local_global" and "causal" not in options:
        floats["core.gate"] = rng.normal(size=(H, E // H)).astype(np.float32)
    if core == "performer":
        floats["core.features"] = rng.normal(size=(H, 16, E // H)).astype(np.float32)
    x = rng.normal(0, 0.7, (3, S, E)).astype(np.float32)
    scales, out = on_board(remote, floats, x, core=core, **options)
    assert sorted(scales) == ["heads", "k", "out", "q", "v", "x"]
    assert abs(out).max() in (126, 127)
    for result, example in zip(out, x.astype(float), strict=True):
        expected, floating = on_host(floats, scales, example, core, **options)
        assert (result == expected).all()
        error = abs(result * scales["out"] - floating).max()
        assert error < ERRORS.get(core, 5) * scales["out"]


@pytest.mark.board("virtual")
def test_cross_attention_with_heads_of_other_widths(remote):
    """As Keras has them: queries 8 x 16, keys 4 x 16, two heads of key_dim 2."""
    rng = np.random.default_rng(5)
    made = {}
    for part, (n, m) in {"q": (4, 16), "k": (4, 16), "v": (4, 16), "out": (16, 4)}.items():
        made[f"{part}.weight"] = rng.normal(size=(n, m)).astype(np.float32)
        made[f"{part}.bias"] = rng.normal(size=n).astype(np.float32)
    x, memory = (rng.normal(size=(n, 16)).astype(np.float32) for n in (8, 4))
    scales, out = on_board(remote, made, x, memory, (8, 16, 2), key_dim=2, value_dim=2, key_len=4)
    expected, floating = on_host(made, scales, x.astype(float), "exact", memory.astype(float))
    assert (out[0] == expected).all()
    assert abs(out[0] * scales["out"] - floating).max() < 0.05 * abs(floating).max()


def test_heads_have_features_of_their_own_from_one_seed(remote):
    rng = np.random.default_rng(6)
    floats = {name: values.ravel() for name, values in parameters(rng).items()}
    code = """
from attn8 import MultiHeadAttention
given = {name: globals()[name.replace(".", "_")] for name in names}
for seed in 1, 2:
    layer = MultiHeadAttention.from_floats(6, 8, 2, given, x, core="performer", num_features=4,
                                           seed=seed)
    for core in layer.cores: give(array("b", core._packed))
"""
    code = code.replace("_packed", compiled("_packed"))
    shares = remote(code, names=list(floats), x=rng.normal(size=48).astype(np.float32),
                    **{name.replace(".", "_"): values for name, values in floats.items()})
    assert len({share.tobytes() for share in shares}) == 4


@pytest.mark.board("virtual")
def test_a_row_of_zeros_is_its_bias_and_a_layer_of_zeros_gives_zeros(remote):
    rng = np.random.default_rng(7)
    floats = parameters(rng)
    floats["out.weight"][3] = 0
    x = rng.normal(size=(S, E)).astype(np.float32)
    scales, out = on_board(remote, floats, x)
    assert abs(out[0, :, 3] * scales["out"] - floats["out.bias"][3]).max() < scales["out"]
    zeros = {name: values * 0 for name, values in floats.items()}
    _, out = on_board(remote, zeros, x * 0)
    assert not out.any()


@pytest.mark.parametrize(("change", "message"), [
    ("del given['q.weight']", "floats: q.weight is missing"),
    ("given['p.weight'] = x", "floats: unknown p.weight"),
    ("given['core.gate'] = x", "floats: unknown core.gate"),
    ("given['v.bias'] = [0.0]", "v.bias: expected 4 values, got 1"),
    ("given['v.bias'] = [0, 0, 0, float('nan')]", "v.bias: expected finite numbers, got nan"),
    ("given['v.bias'] = ['a', 0, 0, 0]", "v.bias: expected finite numbers, got a"),
    ("x = x[:5]", "x: expected 8 values, got 5"),
    ("x = 3", "x: expected list, got int"),
    ("options['core'] = 'exact16'", "core: exact16 is made by attn8 quantize alone"),
    ("options['core'] = 'none'", "core: there is no core none"),
    ("options['key_len'] = 3", "key_len, memory_dim: expected an example of the memory"),
    ("options['window'] = 3", "attn.options.window: core exact takes"),
])
def test_bad_input_is_refused(remote, change, message):
    remote.board.enter_repl()  # the cores of other tests are in its memory
    setup = """
from attn8 import MultiHeadAttention
one = array("f", [1] * 16)
x = array("f", [1] * 8)
options = {}
given = {part + ".weight": one for part in ("q", "k", "v", "out")}
"""
    said = remote.refused(
        change + "\nMultiHeadAttention.from_floats(2, 4, 2, given, x, **options)", setup)
    assert said.startswith(message)
