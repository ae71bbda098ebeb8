"""Models in fixed point train, too: their numbers become words of Q16.16, and come back."""

import json
from typing import Any

import numpy as np
import pytest

from attn8_host import layers, modelfile
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.errors import ModelError
from attn8_host.model import load
from attn8_host.quantize.file import saying
from attn8_host.quantize.model import quantize_model
from attn8_host.train import tune
from attn8_host.train.fitting import fit
from tests import test_train_fit

LENGTH, CLASSES = 12, 3
SENSOR: list[dict[str, Any]] = [  # as docs/models.md has it
    {"type": "conv1d", "name": "conv", "length": LENGTH, "kernel_size": 4, "stride": 2,
     "filters": 4},
    {"type": "relu", "name": "relu"},
    {"type": "reshape", "name": "tokens", "shape": [5, 4]},
    {"type": "self_attention_1d", "name": "attn", "seq_len": 5, "embed_dim": 4,
     "projection_dim": 4},
    {"type": "mean_pool", "name": "pool", "seq_len": 5, "embed_dim": 4},
    {"type": "dense", "name": "head", "in_features": 4, "out_features": CLASSES},
]
MIXED: list[dict[str, Any]] = [
    {"type": "dense", "name": "embed", "in_features": LENGTH, "out_features": 6, "format": "int8"},
    {"type": "dense", "name": "head", "in_features": 6, "out_features": CLASSES},
]


def samples(count=60):
    rng = np.random.default_rng(8)
    labels = np.arange(count) % CLASSES
    waves = rng.normal(0, 2, (CLASSES, LENGTH))
    return waves[labels] + rng.normal(0, 0.6, (count, LENGTH)), labels


def write(path, entries, form):
    rng = np.random.default_rng(2)
    config = saying({"format": "attn8", "version": 1, "name": "sensor",
                     "input": {"shape": [LENGTH]}, "layers": entries}, "format", form)
    tensors = {f"{entry['name']}.{part}": rng.normal(0, tensor.shape[-1]**-0.5, tensor.shape)
               for entry in config["layers"]
               for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()}
    modelfile.write(path, *quantize_model(config, tensors, samples()[0]))


@pytest.fixture(scope="module")
def port():
    virtual = VirtualBoard()
    yield virtual.port
    virtual.stop()


@pytest.mark.parametrize("entries, form, which, trained", [
    (SENSOR, "Q16.16", "all", ["attn", "conv", "head"]),
    (SENSOR, "Q8.8", "last:2", ["attn", "head"]),
    (SENSOR, "Q24.8", "head", ["head"]), (MIXED, "Q16.16", "all", ["embed", "head"]),
])  # fmt: skip
def test_numbers_train_and_come_back(tmp_path, port, entries, form, which, trained):
    model, data, made, results = (tmp_path / name for name in (
        "sensor.safetensors", "data.npz", "tuned.safetensors", "train.json"))
    write(model, entries, form)
    x, labels = samples()
    np.savez(data, inputs=x, labels=labels)
    assert main(["train", str(model), str(data), "--layers", which, "--epochs", "8", "--batch", "4",
                 "--lr", "0.05", "--output", str(made), "--png", str(tmp_path / "x.png"), "--json",
                 str(results), "--board", port]) == 0
    found = json.loads(results.read_text())
    assert found["bit_exact"] is True and found["layers"] == trained and found["best_epoch"]
    assert found["accuracy_after"] > found["accuracy_before"]
    assert found["clipped"] == []
    tuned, base = load(made), load(model)
    assert tuned.config["layers"][-1]["format"] == form
    changed = {name.split(".")[0] for name, values in tuned.tensors.items()
               if (values != base.tensors[name]).any()}
    assert changed == set(trained)
    if entries is MIXED:  # int8 becomes numbers with the scale that its layer has now
        entry = next(each for each in tuned.config["layers"] if each["type"] == "convert")
        scale = tuned.config["layers"][0]["scale"]
        assert np.ldexp(entry["mult"], -entry["shift"]) == pytest.approx(scale, rel=2**-14)
        assert scale != base.config["layers"][0]["scale"]


@pytest.mark.parametrize("memory", ["fast", "plain"])
def test_a_board_alone_fits_numbers_as_numpy_does(remote, tmp_path, memory):
    """With `plain` from a file of what the first layers give, words of 32 bits."""
    path = tmp_path / "sensor.safetensors"
    write(path, SENSOR, "Q16.16")
    model = load(path, False)
    config, tensors, _ = tune.prepare(model, "head", test_train_fit.INT8, 4, "sgd", 0.05, memory)
    x, labels = samples()
    fed = test_train_fit.put(remote, model, path, config, tensors, x, labels)
    wanted = fit(config, tensors, (fed, labels), model, epochs=3)
    best, history = remote(test_train_fit.FIT.format(
        path=test_train_fit.TRAINING, samples=test_train_fit.SAMPLES, size=LENGTH,
        options="epochs=3"))
    assert (best, history) == (wanted.best, wanted.history) and best
    made = tmp_path / "made.safetensors"
    made.write_bytes(remote.board.read_file(test_train_fit.INT8))
    after = load(made, False)
    for part, name in (("weight", "weights"), ("bias", "biases")):
        assert (after.tensors[f"head.{name}"] == wanted.words[f"head.{part}"]).all()


@pytest.mark.parametrize("form, change, said", [
    ("float", {}, r"^head: it computes in float, and what trains is fixed point; quantize the "
                  r"float model in another --format$"),
    ("Q24.8", {"head.weights": 1 << 22}, r"^head.weight: it reaches 16384, and what trains ends "
                                         r"at 16384; give fewer --layers$"),
])  # fmt: skip
def test_numbers_that_do_not_train_are_named(tmp_path, form, change, said):
    write(tmp_path / "model", SENSOR, form)
    model = load(tmp_path / "model")
    for name, value in change.items():
        model.tensors[name] = np.full_like(model.tensors[name], value)
    with pytest.raises(ModelError, match=said):
        tune.training(model, "head", "/models/a")


def test_a_step_that_int8_does_not_have_is_named(tmp_path):
    write(tmp_path / "model", MIXED, "Q16.16")
    model = load(tmp_path / "model")
    entry = next(each for each in model.config["layers"] if each["type"] == "convert")
    entry["shift"] += 1
    with pytest.raises(ModelError, match=f"^{entry['name']}: a step of int8 becomes .*, and stands "
                                         "for .*; give fewer --layers$"):
        tune.training(model, "all", "/models/a")
