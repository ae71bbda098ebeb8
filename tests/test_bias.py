"""Layers without biases: from a float model through quantize to the board, and by hand."""

import numpy as np
import pytest

from attn8_host import modelfile
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import Model
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

S, E = 8, 6
CONFIG = {
    "format": "attn8", "version": 1, "name": "bias", "input": {"shape": [20, 1]},
    "layers": [
        {"type": "conv1d", "name": "conv", "length": 20, "kernel_size": 5, "stride": 2,
         "filters": E},
        {"type": "attention", "name": "attn", "seq_len": S, "embed_dim": E, "num_heads": 2,
         "core": "exact", "causal": True},
        {"type": "cross_attention", "name": "cross", "inputs": ["attn", "conv"], "seq_len": S,
         "embed_dim": E, "num_heads": 2, "key_len": S, "memory_dim": E, "core": "exact",
         "causal": False, "activation_bits": 8},
        {"type": "dense", "name": "head", "in_features": S * E, "out_features": 3,
         "output": "int32"},
    ],
}  # fmt: skip
PATH = "/models/bias.safetensors"


def made(bias):
    """The float model with biases of 0, or without any."""
    rng = np.random.default_rng(2)
    config = {**CONFIG, "layers": [dict(entry) for entry in CONFIG["layers"]]}
    sizes = {"conv": (E, 5), "head": (3, S * E)}
    sizes |= {f"{layer}.{part}": (E, E) for layer in ("attn", "cross")
              for part in ("q", "k", "v", "out")}
    tensors = {}
    for name, shape in sizes.items():
        tensors[f"{name}.weight"] = rng.normal(size=shape)
        if bias:
            tensors[f"{name}.bias"] = np.zeros(shape[0])
    if not bias:
        for entry in config["layers"]:
            entry["bias"] = False
    modelfile.check_config(config)
    return config, tensors


def inputs(offset=0.0):
    return np.random.default_rng(3).normal(offset, 1, (40, 20, 1)).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 16])
def test_no_bias_is_a_bias_of_zeros(board, bits):
    config, tensors = quantize_model(*made(True), inputs(), activation_bits=bits)
    free, rest = quantize_model(*made(False), inputs(), activation_bits=bits)
    assert {key for key in tensors if key not in rest} == {
        key for key in tensors if key.endswith(".bias")}
    assert all(entry["bias"] is False for entry in free["layers"] if entry["type"] != "convert")
    assert all((tensors[key] == rest[key]).all() for key in rest)
    board.enter_repl()
    push(board, PATH, modelfile.pack(free, rest))
    x = np.random.default_rng(4).integers(-127, 128, (5, 20), np.int8)
    expected = Model(config, tensors)
    with board.serve() as client:
        client.load(PATH)
        assert verify(client, Model(free, rest), x).bit_exact
    for one in x:
        assert (Model(free, rest)(one)["head"] == expected(one)["head"]).all()


def test_offsets_of_the_input_become_a_bias():
    """Of the layer that takes it; the others stay without."""
    config, tensors = quantize_model(*made(False), inputs(9.0))
    assert [entry.get("bias", True) for entry in config["layers"]] == [True, False, False, False]
    assert tensors["conv.bias"].any() and "attn.q.bias" not in tensors


def test_a_bias_that_the_config_denies_is_refused_on_both_sides(board, remote):
    config, tensors = quantize_model(*made(False), inputs())
    for name in ("conv", "attn.v", "cross.out", "head"):
        size = len(tensors[f"{name}.weight"])
        wrong = tensors | {f"{name}.bias": np.zeros(size, np.int32)}
        with pytest.raises(ModelError, match=f"{name}.bias"):
            Model(config, wrong)
        push(board, PATH, modelfile.pack(config, wrong))
        said = remote.refused(f"load({PATH!r})", "from attn8 import load")
        layer = name.partition(".")[0]
        assert said.endswith(f'{layer}: it has {name}.bias and says "bias": false')


def test_a_bias_that_is_missing_is_refused_on_both_sides(board, remote):
    config, tensors = quantize_model(*made(True), inputs())
    del tensors["attn.k.bias"]
    with pytest.raises(ModelError, match=r"attn.k.bias"):
        Model(config, tensors)
    push(board, PATH, modelfile.pack(config, tensors))
    said = remote.refused(f"load({PATH!r})", "from attn8 import load")
    assert said.endswith("missing tensor attn.k.bias")


