"""What a float model leaves to its core: random features of performer, the gate of local_global."""

import numpy as np
import pytest

from attn8_host import modelfile
from attn8_host.cores.performer import random_features
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import Model
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

S, E, H = 6, 8, 2
PATH = "/models/defaults.safetensors"


def made(core, **options):
    rng = np.random.default_rng(1)
    entry = {"type": "attention", "name": "attn", "seq_len": S, "embed_dim": E, "num_heads": H,
             "core": core, "causal": False, "options": options}
    tensors = {f"attn.{part}.weight": rng.normal(size=(E, E)) for part in ("q", "k", "v", "out")}
    tensors |= {f"attn.{part}.bias": rng.normal(size=E) for part in ("q", "k", "v", "out")}
    config = {"format": "attn8", "version": 1, "name": core, "input": {"shape": [S, E]},
              "layers": [entry]}
    return config, tensors


INPUTS = np.random.default_rng(2).normal(size=(9, S, E)).astype(np.float32)
FULL = {"window": 1, "global_indices": [0]}


def equal(left, right):
    assert left[0] == right[0] and left[1].keys() == right[1].keys()
    assert all((left[1][key] == right[1][key]).all() for key in left[1])


@pytest.mark.parametrize(("options", "count", "seed"), [
    ({}, 32, 1), ({"num_features": 100, "seed": 7}, 100, 7),
])
def test_features_are_drawn_from_a_seed(board, options, count, seed):
    config, tensors = made("performer", **options)
    found = quantize_model(config, tensors, INPUTS)
    assert config["layers"][0]["options"] == options  # the float model stays as it is
    same = tensors | {"attn.core.features": random_features(H, count, E // H, seed)}
    equal(found, quantize_model(made("performer")[0], same, INPUTS))
    board.enter_repl()
    push(board, PATH, modelfile.pack(*found))
    x = np.random.default_rng(4).integers(-127, 128, (3, S * E), np.int8)
    with board.serve() as client:
        client.load(PATH)
        assert verify(client, Model(*found), x).bit_exact


def test_a_gate_is_half_where_there_is_none():
    config, tensors = made("local_global", **FULL)
    found = quantize_model(config, tensors, INPUTS)
    assert (found[1]["attn.core.gate"] == 16384).all()
    equal(found, quantize_model(config, tensors | {"attn.core.gate": np.zeros((H, E // H))},
                                INPUTS))


@pytest.mark.parametrize(("options", "tensors", "message"), [
    ({"num_features": 257}, {}, "num_features: expected at most 256, got 257"),
    ({"seed": 2}, {"attn.core.features": np.zeros((H, 4, E // H))},
     "attn.options.seed: the file has core.features; take one of them out"),
    ({"seeds": 2}, {}, "seeds"),
])
def test_what_cannot_be_drawn_is_refused(options, tensors, message):
    config, own = made("performer", **options)
    with pytest.raises(ModelError, match=message):
        modelfile.check_config(config)
        quantize_model(config, own | tensors, INPUTS)


def test_integers_draw_nothing():
    config, tensors = quantize_model(*made("performer"), INPUTS)
    config["layers"][0]["options"] = {"seed": 3}
    with pytest.raises(ModelError, match=r"attn.options.seed: integers have what it draws"):
        Model(config, tensors)


@pytest.mark.parametrize(("core", "message"), [
    ("decode", "attn.options.cache_len: missing; expected a whole number from 1 to 516"),
    ("sliding", "attn.options.window: missing; expected a whole number from 1 to 516"),
    ("sparse", "attn.options.mask: missing; expected a list"),
    ("local_global", "attn.options.window: missing; expected a whole number from 0 to 32768"),
])
def test_an_option_that_a_core_needs_is_named(core, message):
    config, tensors = made(core)
    config["layers"][0]["causal"] = True
    with pytest.raises(ModelError) as refused:
        quantize_model(config, tensors, INPUTS)
    assert str(refused.value).endswith(message)
