"""Grouped-query attention of int16 with rotary positions and a cache, and a tied head."""

import math
from array import array

import numpy as np
import pytest

from attn8_host import float_model, isa, modelfile
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.isa.device import Device
from attn8_host.layers.grouped_attention import most, rotary, stored
from attn8_host.model import Model
from attn8_host.numerics.rotary import sine
from attn8_host.plan.inference import loaded, served
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

from .compiled import compiled
from .test_zero_allocation import GROWN, RUN

PATH = "/models/grouped.safetensors"
N, VOCAB = 9, 20
# heads, key-value heads, head_dim, the cache, rotary positions, biases
VARIANTS = {
    "grouped": (4, 2, 4, "int8", True, False),
    "of int16": (4, 2, 8, "int16", True, False),
    "one for all": (3, 1, 6, "int8", True, True),
    "each its own, no positions": (2, 2, 5, "int8", False, True),
}


def decoder(heads, kv_heads, d, cache, turning, bias, tied=True):
    """(config, tensors, inputs) of a float model: a token's logits of the next one."""
    rng = np.random.default_rng(heads)
    e, kv = heads * d, kv_heads * d
    attention = {"type": "grouped_attention", "name": "attn", "seq_len": N, "embed_dim": e,
                 "num_heads": heads, "num_kv_heads": kv_heads, "cache": cache, "bias": bias}
    if turning:
        attention["rotary_base"] = 100.0
    layers = [
        {"type": "embedding", "name": "words", "seq_len": N, "vocab_size": VOCAB, "embed_dim": e,
         **({"tied": True} if tied else {})},
        {"type": "rms_norm", "name": "norm1", "features": e, "eps": 1e-5},
        attention,
        {"type": "add", "name": "sum", "inputs": ["words", "attn"]},
        {"type": "rms_norm", "name": "norm2", "features": e, "eps": 1e-5},
        {"type": "tied_head", "name": "head", "rows": N, "in_features": e, "out_features": VOCAB,
         "embedding": "words", "output": "int16"},
    ]
    tensors = {"words.weight": rng.normal(size=(VOCAB, e)), "norm1.weight": rng.normal(1, 0.2, e),
               "norm2.weight": rng.normal(1, 0.2, e)}
    for part, n in ("q", e), ("k", kv), ("v", kv), ("out", e):
        tensors[f"attn.{part}.weight"] = rng.normal(0, e**-0.5, (n, e))
        if bias:
            tensors[f"attn.{part}.bias"] = rng.normal(0, 0.3, n)
    config = {"format": "attn8", "version": 1, "name": "decoder", "layers": layers,
              "input": {"shape": [N], "format": "tokens"}}
    return config, tensors, rng.integers(0, VOCAB, (6, N)).astype(np.int16)


@pytest.fixture(params=VARIANTS, scope="module")
def model(request):
    """(config, tensors of integers, inputs)."""
    floats, tensors, inputs = decoder(*VARIANTS[request.param])
    return *quantize_model(floats, tensors, inputs, activation_bits=16), inputs


def test_it_is_near_to_floats():
    for variant in VARIANTS.values():
        floats, tensors, inputs = decoder(*variant)
        config, integers = quantize_model(floats, tensors, inputs, activation_bits=16)
        run, made = float_model.prepare(floats, tensors), Model(config, integers)
        scale = config["layers"][-1]["scale"]
        for x in inputs:
            want = run(x)["head"]
            assert np.abs(made(x)["head"] * scale - want).max() <= 0.03 * np.ptp(want)


def test_rotary_positions_are_those_of_the_paper():
    turns = np.array([1, 0.01]) / (2 * math.pi) * 2**32
    x = np.random.default_rng(0).integers(-8000, 8001, (3, 516, 4)).astype(np.int16)
    found = rotary(x, turns.astype(np.int32), 0, 32767)
    turn = np.exp(1j * np.arange(516)[:, None] * [1, 0.01])
    want = (x[..., ::2] + 1j * x[..., 1::2]) * turn
    error = np.abs(found[..., ::2] + 1j * found[..., 1::2] - want)
    assert error.max() <= 2  # of 11,314
    assert (rotary(x[:, 100:], turns.astype(np.int32), 100, 32767) == found[:, 100:]).all()
    angles = np.arange(-(1 << 33), 1 << 33, 1234567)
    assert np.abs(sine(angles) - 16384 * np.sin(angles * 2 * math.pi / 2**32)).max() <= 1.1


def test_a_cache_of_int8_keeps_each_row_to_half_a_step():
    x = np.concatenate([np.arange(-32385, 32386, 7)[:, None] * [1, 0.3, 0],
                        np.eye(3), np.zeros((1, 3))]).astype(np.int16)
    step = np.maximum(np.ceil(np.abs(x).max(axis=1, keepdims=True) / 127), 1)
    kept = stored(x, "int8")
    assert step.max() == 255
    assert (np.abs(kept - x) <= step / 2).all() and (kept % step == 0).all()
    assert (stored(x, "int16") == x).all()


def test_what_all_keys_have_in_common_costs_no_steps():
    floats, tensors, inputs = decoder(2, 2, 4, "int8", False, True)
    tensors["attn.k.bias"] += 40 * np.array([1, -1, 0.5, 0, -1, 1, 0, 1])
    config, integers = quantize_model(floats, tensors, inputs, activation_bits=16)
    run, scale = float_model.prepare(floats, tensors), config["layers"][-1]["scale"]

    def error():
        made = Model(config, integers)
        return np.mean([np.abs(made(x)["head"] * scale - run(x)["head"]) for x in inputs])

    centred = error()
    assert np.abs(integers["attn.centre"]).max() > 4000
    integers["attn.centre"][:] = 0
    assert centred < error() / 3


def test_scores_stay_below_2_to_the_29():
    for d in (1, 2, 8, 64, 500, 4096):
        wide, narrow = most(d, "int16"), most(d, "int8")
        assert d * wide["q"] * wide["k"] < 1 << 29
        assert d * narrow["q"] * -(-narrow["k"] // 127) * 127 < 1 << 29
        assert 32767 * narrow["v"] < 1 << 30


STEPS = GROWN + """
from attn8 import load
model = load(path, step=True)
ids = [array("h", [token]) for token in x]
for again in range(2):
    model.reset()
    for token in ids:
        give(model.step(token))
model.reset()
t = 0
def step():
    global t
    t += 1
    model.step(ids[t - 1])
give(grown(0))
give(grown(len(x)))
try:
    model.step(ids[0])
except ValueError as error:
    give(str(error))
model.reset()
give(model.prefill(x[:5]))
give(model.prefill(x[5:]))
"""


def test_a_board_computes_the_same_step_by_step_and_in_chunks(board, remote, model):
    config, tensors, inputs = model
    made, x = Model(config, tensors), inputs[0]
    whole = made(x)["head"]
    for _ in range(2):
        made.reset()
        assert all((made.step(x[i : i + 1]) == whole[i]).all() for i in range(N))
    with pytest.raises(ValueError, match="attn: its cache has room for 9 tokens and holds 9"):
        made.step(x[:1])
    made.reset()
    assert (made.prefill(x[:4]) == whole[3]).all() and (made.prefill(x[4:]) == whole[-1]).all()
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    *rows, without, grown, full, fifth, last = remote(STEPS, x=x, path=PATH)
    assert (np.array(rows).reshape(2, N, VOCAB) == whole).all()
    assert grown == without
    assert full == "attn: its cache has room for 9 tokens and holds 9; reset"
    assert (fifth == whole[4]).all() and (last == whole[-1]).all()


def test_a_board_computes_a_whole_pass_and_allocates_nothing(board, remote, model):
    config, tensors, inputs = model
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        found = verify(client, Model(config, tensors, need_weights=False), inputs)
    assert found.bit_exact, found.mismatched
    board.enter_repl()
    without, grown = remote(RUN, path=PATH)
    assert grown == without


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("backend, variant", [("viper", "grouped"), ("turbo", "grouped"),
                                              ("turbo", "of int16"), ("turbo", "one for all")])
def test_the_machine_code_of_chips_computes_the_same(arch, backend, variant):
    floats, parameters, inputs = decoder(*VARIANTS[variant])
    config, tensors = quantize_model(floats, parameters, inputs, activation_bits=16)
    config = {key: value for key, value in config.items() if key != "arena"}
    made, _, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    made(array("h", inputs[0].tobytes()))
    want = Model(config, tensors, need_weights=False)(inputs[0])
    assert [name for name, *_ in made.outputs] == list(want)
    for name, code, values in made.outputs:
        assert (np.array(values, code) == want[name].ravel()).all(), name


PIECES = """
from attn8.layers.grouped_attention import GroupedAttention
whole = GroupedAttention._piece
def _piece(self, kv):
    if kv > 1:
        raise MemoryError("no piece of memory is as large")
    return whole(self, kv)
GroupedAttention._piece = _piece
"""


def test_a_cache_in_pieces_gives_the_same(board, remote):
    floats, parameters, inputs = decoder(*VARIANTS["grouped"])
    config, tensors = quantize_model(floats, parameters, inputs, activation_bits=16)
    whole = Model(config, tensors)(inputs[0])["head"]
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    remote(compiled(PIECES))
    *rows, without, grown, full, fifth, last = remote(STEPS, x=inputs[0], path=PATH)
    assert remote(compiled("give(len(model.layers[2]._pieces))")) == 2
    assert (np.array(rows).reshape(2, N, VOCAB) == whole).all()
    assert grown == without
    assert full == "attn: its cache has room for 9 tokens and holds 9; reset"
    assert (fifth == whole[4]).all() and (last == whole[-1]).all()
    board.enter_repl()


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("heads, kv_heads, limit, pieces", [(4, 2, 1, 2), (8, 4, 2, 4),
                                                            (8, 4, 1, 4), (6, 3, 2, 3)])
def test_machine_code_computes_the_same_in_pieces(arch, heads, kv_heads, limit, pieces):
    floats, parameters, inputs = decoder(heads, kv_heads, 8, "int8", True, False)
    config, tensors = quantize_model(floats, parameters, inputs, activation_bits=16)
    device = Device(arch, "turbo")
    kind = device.load("attn8.layers.grouped_attention").GroupedAttention
    whole = kind._piece

    def piece(self, kv):
        if kv > limit:
            raise MemoryError
        return whole(self, kv)

    kind._piece = piece
    server, _ = served(device, config, modelfile.pack(config, tensors))
    made = server._model
    assert len(made.layers[2]._pieces) == pieces
    made(array("h", inputs[0].tobytes()))
    _, code, values = made.outputs[-1]
    want = Model(config, tensors, need_weights=False)(inputs[0])["head"]
    assert (np.array(values, code) == want.ravel()).all()


def test_an_embedding_and_its_head_are_one_tensor():
    config, tensors, _ = decoder(*VARIANTS["grouped"])
    made = quantize_model(config, tensors, np.zeros((1, N), np.int16) + np.arange(N),
                          activation_bits=16)[1]
    assert made["words.weight"].dtype == np.int8
    assert not {"head.weight", "head.bias"} & made.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_kv_heads": 3}, "attn.num_kv_heads: expected a divisor of num_heads 4, got 3"),
        ({"num_heads": 3}, "attn.embed_dim: expected a multiple of num_heads 3, got 16"),
        ({"seq_len": 517}, "attn.seq_len: expected 1 to 516, got 517"),
        ({"num_heads": 16, "num_kv_heads": 16},
         "attn.rotary_base: expected heads of an even width, got 1"),
        ({"cache": "int32"}, 'attn.cache: expected int8 or int16, got "int32"'),
    ],
)
def test_wrong_configs_are_refused_in_one_line(change, message):
    config, _, _ = decoder(*VARIANTS["grouped"])
    config["layers"][2].update(change)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config)
    assert str(refused.value) == message
