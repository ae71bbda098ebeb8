"""Weights in pairs of rows: a file has them, or rows as files before, and the bits are the same."""

from array import array

import numpy as np
import pytest

from attn8_host import isa, modelfile
from attn8_host.errors import ModelError
from attn8_host.isa.device import Device
from attn8_host.model import Model
from attn8_host.quantize.model import quantize_model
from tests.test_grouped_attention import N, decoder


@pytest.fixture(scope="module")
def made():
    """(config, tensors) of a model whose weights all can be in pairs."""
    config, tensors, inputs = decoder(4, 2, 4, "int8", True, False)
    return quantize_model(config, tensors, inputs, activation_bits=16)


def in_rows(config):
    """The same config, for a file as they were."""
    layers = [{key: value for key, value in entry.items() if key != "paired"}
              for entry in config["layers"]]
    return {**config, "layers": layers}


def test_a_file_has_pairs_and_says_so_by_their_shape_alone(made, tmp_path):
    config, tensors = made
    paired = {entry["name"] for entry in config["layers"] if "paired" in entry}
    assert paired == {"words", "attn"}
    path = tmp_path / "model.safetensors"
    modelfile.write(path, config, tensors)
    assert b"paired" not in path.read_bytes()
    _, found = modelfile.header(path)
    assert found["words.weight"]["shape"] == [10, 16, 2]
    assert found["attn.k.weight"]["shape"] == [4, 16, 2]
    again, read = modelfile.read(path)
    assert again == config and list(read) and all((read[name] == tensors[name]).all()
                                                  for name in tensors)
    modelfile.write(path, in_rows(config), tensors)
    assert modelfile.read(path)[0] == in_rows(config)


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("backend", ["viper", "turbo"])
def test_steps_are_those_of_rows(made, tmp_path, arch, backend):
    config, tensors = made
    path = tmp_path / "model.safetensors"
    model = Model(config, tensors)
    want = [model.step(np.array([token], np.int16)) for token in range(N)]
    assert len(np.unique(want)) > 100
    for each in config, in_rows(config):
        modelfile.write(path, each, tensors)
        for weights in "stream", "resident":
            load = Device(arch, backend).load("attn8.model").load
            board = load(str(path), step=True, weights=weights)
            for token in range(N):
                assert (np.array(board(array("h", [token]))) == want[token]).all()


@pytest.mark.parametrize("name, change, error", [
    ("words.weight", lambda w: w[:, :, :1], "words.weight: expected int8 in pairs of rows"),
    ("attn.v.weight", lambda w: w.reshape(8, 16), "attn.v.weight: expected int8 in pairs of rows"),
    ("attn.v.weight", lambda w: w[:, :6], "attn.v.weight: expected int8 in pairs of rows"),
    ("attn.v.weight", lambda w: w.astype(np.int16), "attn.v.weight: expected int8 in pairs"),
    ("words.weight", lambda w: w[1:], r"words.weight: expected int8 \[20, 16\], got"),
])  # fmt: skip
def test_what_is_no_pair_is_refused(made, tmp_path, name, change, error):
    config, tensors = made
    path = tmp_path / "model.safetensors"
    modelfile.write(path, config, tensors)
    weights = ("words.weight", *(f"attn.{part}.weight" for part in ("q", "k", "v", "out")))
    tensors = tensors | {key: modelfile.pairs.paired(tensors[key]) for key in weights}
    tensors[name] = change(tensors[name])
    modelfile.write(path, in_rows(config), tensors)
    with pytest.raises(ModelError, match=error):
        Model(*modelfile.read(path))
    with pytest.raises(ValueError, match=name):
        Device("xtensawin").load("attn8.model").load(str(path), step=True)


def test_products_of_int8_take_rows(made, tmp_path):
    weight, ones = np.ones((2, 8), np.int8), np.ones(2, np.int16)
    config = {"format": "attn8", "version": 1, "name": "m", "input": {"shape": [8]},
              "layers": [{"type": "dense", "name": "d", "in_features": 8, "out_features": 2}]}
    tensors = {"d.weight": modelfile.pairs.paired(weight), "d.bias": ones.astype(np.int32),
               "d.mult": ones << 14, "d.shift": (20 * ones).astype(np.int8)}
    path = tmp_path / "model.safetensors"
    modelfile.write(path, config, tensors)
    with pytest.raises(ModelError, match=r"d\.weight: it takes int8, and only weights of"):
        Model(*modelfile.read(path))
    with pytest.raises(ValueError, match=r"d.weight: expected array\('b'\) of shape \[2, 8\], got"):
        Device("xtensawin").load("attn8.model").load(str(path))
