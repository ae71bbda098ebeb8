"""`attn8 train MODEL DATA`: any model file's last layers, with any samples; and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attn8_host import layers, modelfile
from attn8_host.boards.virtual import VirtualBoard, open_virtual
from attn8_host.cli import main
from attn8_host.deploy import OWN_MODELS
from attn8_host.errors import Attn8Error, ModelError
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.proof.demos.speakers import DEMO
from attn8_host.quantize.model import quantize_model
from attn8_host.train import tune
from attn8_host.train.session import pack

TOKENS, FEATURES, CLASSES = 4, 3, 3
LAYERS: list[dict[str, Any]] = [
    {"type": "dense", "name": "embed", "rows": TOKENS, "in_features": FEATURES, "out_features": 8},
    {"type": "relu", "name": "relu"},
    {"type": "attention", "name": "attn", "seq_len": TOKENS, "embed_dim": 8, "num_heads": 2,
     "core": "exact", "causal": False},
    {"type": "mean_pool", "name": "pool", "seq_len": TOKENS, "embed_dim": 8},
    {"type": "dense", "name": "head", "in_features": 8, "out_features": CLASSES,
     "output": "int32"},
]  # fmt: skip
WITHOUT_POOL = [*LAYERS[:3], {**LAYERS[4], "in_features": 8 * TOKENS}]
WIDE: list[dict[str, Any]] = [
    {**LAYERS[0], "in_features": FEATURES, "activation_bits": 16},
    {"type": "gelu", "name": "gelu", "approximate": "tanh", "activation_bits": 16},
    {"type": "conv1d", "name": "conv", "length": TOKENS, "channels": 8, "kernel_size": 3,
     "padding": 1, "stride": 1, "filters": 8, "activation_bits": 16},
    {**LAYERS[4], "in_features": 8 * TOKENS, "activation_bits": 16},
]
FUNCTIONS: list[dict[str, Any]] = [
    LAYERS[0], {"type": "activation", "name": "elu", "function": "elu", "alpha": 0.7},
    {"type": "activation", "name": "leaky", "function": "leaky_relu", "slope": 0.01},
    {"type": "dense", "name": "mid", "rows": TOKENS, "in_features": 8, "out_features": 8},
    {"type": "activation", "name": "mish", "function": "mish", "activation_bits": 16},
    *LAYERS[3:]]
RESIDUAL = [*LAYERS[:3], {"type": "add", "name": "sum", "inputs": ["relu", "attn"]}, *LAYERS[3:]]


def samples(count=60):
    """Each class has a direction of its own, in units of a sensor's own."""
    rng = np.random.default_rng(8)
    labels = np.arange(count) % CLASSES
    directions = rng.normal(0, 4, (CLASSES, FEATURES))
    return directions[labels][:, None] + rng.normal(0, 2, (count, TOKENS, FEATURES)), labels


def write(path, entries=LAYERS):
    """An int8 model of random weights."""
    rng = np.random.default_rng(2)
    config = {"format": "attn8", "version": 1, "name": "gestures",
              "input": {"shape": [TOKENS, FEATURES]}, "layers": entries}
    tensors = {}
    for entry in entries:
        wanted = layers.get(entry["type"]).float_tensors(entry)
        for part, tensor in wanted.items():
            if tensor.needed:
                tensors[f"{entry['name']}.{part}"] = rng.normal(
                    0, tensor.shape[-1]**-0.5, tensor.shape)
    modelfile.write(path, *quantize_model(config, tensors, samples()[0]))
    return tensors


@pytest.fixture(scope="module")
def port():
    virtual = VirtualBoard()
    yield virtual.port
    virtual.stop()


@pytest.mark.parametrize("entries, which, trained", [
    (LAYERS, "head", ["head"]), (LAYERS, "last:2", ["attn", "head"]),
    (LAYERS, "all", ["attn", "embed", "head"]), (WITHOUT_POOL, "head", ["head"]),
    (RESIDUAL, "head", ["head"]), (WIDE, "all", ["conv", "embed", "head"]),
    (WIDE, "head", ["head"]), (FUNCTIONS, "all", ["embed", "head", "mid"]),
], ids=["head", "last:2", "all", "behind attention", "behind a graph", "int16", "behind int16",
        "functions"])
def test_layers_are_trained_and_come_back(tmp_path, capsys, port, entries, which, trained):
    """Behind a front that ends in a pooling or in attention, or is a graph; and without one."""
    model, data, made, results, png = (tmp_path / name for name in (
        "gestures.safetensors", "data.npz", "tuned.safetensors", "train.json", "curve.png"))
    write(model, entries)
    x, labels = samples()
    np.savez(data, inputs=x, labels=labels)
    before = model.read_bytes()
    assert main(["train", str(model), str(data), "--layers", which, "--epochs", "4", "--batch", "4",
                 "--output", str(made), "--png", str(png), "--json", str(results), "--board",
                 port, *(["--lr", "0.005"] if entries is WIDE else [])]) == 0
    said = capsys.readouterr().out
    assert f"--layers {which}, by attn8 plan:" in said and "which fits ESP32" in said
    assert "training (steps): loss " in said and " right" in said
    found = json.loads(results.read_text())
    assert found["bit_exact"] is True and found["layers"] == trained
    assert (found["samples"], found["validation"], found["steps"]) == (60, 12, 48)
    losses = [epoch["validation_loss"] for epoch in found["history"]]
    assert found["best_epoch"] == int(np.argmin(losses)) + 1
    assert found["history"][-1]["loss"] < found["history"][0]["loss"]
    assert found["accuracy_after"] > found["accuracy_before"]
    assert model.read_bytes() == before and png.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.new"))
    tuned, base = load(made), load(model)
    changed = {name.split(".")[0] for name, values in tuned.tensors.items()
               if (values != base.tensors[name]).any()}
    assert set(trained) <= changed <= {*trained, "attn", "gelu", "elu", "leaky", "mish"}
    fed = tuned.feed(x).reshape(len(x), -1)
    right = [tuned(each)["head"].argmax() == label for each, label in zip(fed, labels, strict=True)]
    assert np.mean(right) > 0.6


def test_floats_become_int8_and_as_many_layers_train_as_fit(tmp_path, capsys, port):
    """Without --layers: all three of the small model."""
    floats = write(tmp_path / "int8")
    config = {"format": "attn8", "version": 1, "name": "gestures",
              "input": {"shape": [TOKENS, FEATURES]}, "layers": LAYERS}
    modelfile.write(tmp_path / "floats", config,
                    {name: values.astype(np.float32) for name, values in floats.items()})
    x, labels = samples()
    np.savez(tmp_path / "data.npz", inputs=x, labels=labels)
    results = tmp_path / "train.json"
    assert main(["train", str(tmp_path / "floats"), str(tmp_path / "data.npz"), "--epochs", "2",
                 "--output", str(tmp_path / "made"), "--png", str(tmp_path / "x.png"), "--json",
                 str(results), "--board", port]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "floats is of floats: in int8 " in said and "--layers all, by attn8 plan" in said
    outcome = json.loads(results.read_text())
    assert outcome["bit_exact"] is True and outcome["layers"] == ["attn", "embed", "head"]
    assert load(tmp_path / "made").config["layers"][0]["name"] == "embed"


def test_int8_stands_for_the_floats_that_it_was_made_of(tmp_path):
    """Within half a step of each weight, and of the int32 biases."""
    floats = write(tmp_path / "model")
    model = load(tmp_path / "model")
    _, found, _ = tune.training(model, "all", "/models/a")
    assert found.keys() == floats.keys()
    # The input is what its int8 values stand for, over 128
    floats["embed.weight"] = floats["embed.weight"] * model.config["input"]["scale"] * 128
    for name, values in floats.items():
        rows = np.abs(values).reshape(len(values), -1).max(axis=1)
        step = (rows if name.startswith(("embed", "attn")) else rows.max()) / 127
        error = np.abs(found[name] - values).reshape(len(values), -1).max(axis=1)
        assert (error <= 0.502 * step + 1e-4).all() or name.endswith("bias"), name
        assert error.max() < 0.02 * max(1, np.abs(values).max()), name


def test_it_ends_where_validation_gets_no_better(board, tmp_path, monkeypatch):
    """With labels at random the least validation loss is early; its words are those kept."""
    write(tmp_path / "model.safetensors")
    base = load(tmp_path / "model.safetensors", False)
    x, labels = samples()
    labels = np.random.default_rng(1).permutation(labels)
    outcome = tune.tune(
        board, tmp_path / "model.safetensors", base, (base.feed(x).reshape(len(x), -1), labels),
        tmp_path / "out.safetensors", "last:2", epochs=20, batch=4, rate=0.2, patience=2)
    assert outcome.bit_exact and outcome.epochs == outcome.best_epoch + 2 < 20


def test_what_saturates_ends_and_leaves_the_model(board, tmp_path, monkeypatch):
    write(tmp_path / "model.safetensors")
    base = load(tmp_path / "model.safetensors", False)
    x, labels = samples()
    usual = tune.training

    def steep(*arguments):
        config, tensors, names = usual(*arguments)
        config.pop("clip_norm")
        return config, {name: values * 3000 for name, values in tensors.items()}, names

    monkeypatch.setattr(tune, "training", steep)
    with pytest.raises(Attn8Error, match=r"values saturated in epoch 1: give a lower --lr than 0"):
        tune.tune(board, tmp_path / "model.safetensors", base,
                  (base.feed(x).reshape(len(x), -1), labels), tmp_path / "out.safetensors",
                  epochs=3, rate=0.5)
    assert not (tmp_path / "out.safetensors").exists() and left(board) == {"tuned.safetensors"}


@pytest.mark.parametrize("what", ["int8 before (samples)", "training (steps): ",
                                  "int8 after (samples)"])
def test_what_is_interrupted_leaves_no_training_file(board, tmp_path, what):
    """By Ctrl-C, at any time: the board has the package and the int8 model, and takes commands."""
    write(tmp_path / "model")
    base = load(tmp_path / "model", False)
    x, labels = samples()

    def interrupt(said, done, _):
        if said.startswith(what) and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune.tune(board, tmp_path / "model", base, (base.feed(x).reshape(len(x), -1), labels),
                  tmp_path / "out", epochs=2, advance=interrupt)
    assert left(board) == {"tuned.safetensors"}
    assert {each.name for each in tmp_path.iterdir()} == {"model"}


def left(board):
    """What a training has put onto the board and not removed."""
    found = board.evaluate(f"import os\nprint(os.listdir({OWN_MODELS!r}))", list)
    return {name for name in found if name.startswith("tune")}


def test_what_is_no_better_is_not_written(tmp_path, capsys, port):
    """Steps that are far too long: the validation loss is least before the first."""
    path, out, results, png = (tmp_path / name for name in ("model", "out", "json", "png"))
    write(path)
    x, labels = samples()
    np.savez(tmp_path / "data.npz", inputs=x, labels=np.random.default_rng(1).permutation(labels))
    assert main(["train", str(path), str(tmp_path / "data.npz"), "--output", str(out), "--lr", "1",
                 "--layers", "head", "--patience", "2", "--json", str(results), "--png", str(png),
                 "--board", port]) == 1
    found = json.loads(results.read_text())
    assert found["bit_exact"] is True and found["best_epoch"] == 0 and found["epochs"] == 2
    assert found["validation_loss_before"] <= min(e["validation_loss"] for e in found["history"])
    assert found["accuracy_after"] == found["accuracy_before"]
    said = " ".join(capsys.readouterr().out.split())
    assert "epochs: 2, samples a step: 10" in said
    assert "no epoch was better than the model as it is, whose validation loss is" in said
    assert {each.name for each in tmp_path.iterdir()} == {"model", "data.npz", "json", "png"}


def test_what_fits_no_board_says_so(tmp_path):
    """A board whose heap has room for the int8 model, and none for what trains."""
    write(tmp_path / "model")
    base = load(tmp_path / "model", False)
    x, labels = samples()
    with open_virtual(heap_size="110K") as board, pytest.raises(Attn8Error, match=(
        r"^out of memory: .*: give fewer --layers; the model is as it was$"
    )):
        tune.tune(board, tmp_path / "model", base,
                  (base.feed(x).reshape(len(x), -1), labels), tmp_path / "out", "all", epochs=1)
    assert {each.name for each in tmp_path.iterdir()} == {"model"}


X, LABELS = samples()


def test_samples_without_labels_are_refused(tmp_path):
    write(tmp_path / "model")
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(ModelError, match=r"data.npy: it is one array; give a .npz with the arrays"):
        tune.read(tmp_path / "data.npy", load(tmp_path / "model"))


@pytest.mark.parametrize("arrays, said", [
    ({"inputs": X, "labels": LABELS + 1}, ": expected labels from 0 to 2, as many classes as the "
     "model gives values, got 3 of sample 2"),
    ({"inputs": X, "labels": LABELS - 1}, ": expected labels from 0 to 2, as many classes as the "
     "model gives values, got -1 of sample 0"),
    ({"inputs": X * np.nan, "labels": LABELS}, ": it holds NaN, infinite values or some beyond "
     "float32, first in sample 0; leave such samples out"),
    ({"inputs": X[:, 1:], "labels": LABELS}, ": expected numbers [samples, 4, 3], got"),
    ({"inputs": X, "labels": LABELS[1:]}, ": expected labels of whole numbers [60], one an"),
    ({"inputs": X, "labels": LABELS / 2}, ": expected labels of whole numbers [60]"),
    ({"inputs": X}, ": expected an array labels in it, got inputs"),
    ({"labels": LABELS}, ": expected an array inputs in it, got labels"),
    ({"inputs": X, "labels": LABELS, "lengths": LABELS}, ": the model takes no lengths; its"),
    ({"inputs": X, "labels": LABELS * 0 + 2}, ": every sample is of class 2, so"),
    ({"inputs": X[:9], "labels": LABELS[:9]}, ": expected 10 samples at least, one of 5 to"),
    ({"inputs": X[:0], "labels": LABELS[:0]}, ": expected numbers [samples, 4, 3], got"),
])  # fmt: skip
def test_bad_samples_are_refused_in_one_line(tmp_path, capsys, arrays, said):
    write(tmp_path / "model")
    np.savez(tmp_path / "data.npz", **arrays)
    assert main(["train", str(tmp_path / "model"), str(tmp_path / "data.npz"), "--output",
                 str(tmp_path / "out"), "--board", "/dev/nosuch"]) == 2
    assert capsys.readouterr().err.startswith(f"attn8: {tmp_path / 'data.npz'}{said}")


@pytest.mark.parametrize("words, said", [
    (["nosuch", "data.npz", "--output", "out"], "nosuch: expected a model file, iris or digits"),
    (["model"], "with what? Give DATA.npz, with the arrays inputs and labels"),
    (["model", "data.npz"], "where to? Give the new model's file with --output FILE"),
    (["model", "model", "--output", "out"], "model: not a .npy or .npz file of numbers"),
    (["model", "empty.npz", "--output", "out"], "empty.npz: not a .npy or .npz file of numbers"),
    (["model", "none.npz", "--output", "out"], "none.npz: no such file"),
    (["model", "data.npz", "--output", "out", "--layers", "last:4"],
     "model: --layers last:4: expected 1 to 3, the layers that have parameters"),
    (["model", "data.npz", "--output", "out", "--batch", "49"],
     "batch: expected 1 to 48 samples, got 49"),
    (["model", "data.npz", "--output", "out", "--epochs", "9999"],
     "epochs: expected 1 to 8191, got 9999"),
    (["model", "data.npz", "--output", "out", "--lr", "1", "--optimizer", "adam"],
     "lr: expected at most 0.031 with adam, got 1"),
    (["model", "data.npz", "--output", "out", "--layers", "head", "--layers", "all"],
     "--layers: it is given more than once, and one counts"),
    (["model", "data.npz", "--output", "/proc/self/comm"], "cannot write /proc/self/comm: "),
    (["iris", "data.npz"], "data.npz: iris has data of its own; leave it out"),
])  # fmt: skip
def test_bad_commands_are_refused_in_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model")
    np.savez("data.npz", inputs=X, labels=LABELS)
    Path("empty.npz").touch()
    assert main(["train", *words, "--board", "/dev/nosuch"]) == 2
    assert capsys.readouterr().err.startswith(f"attn8: {said}")


@pytest.mark.parametrize("change, said", [
    ({2: {"core": "micro"}}, "attn.core: micro does not train; see docs/numerics.md"),
    ({2: {"core": "performer"}}, "attn.core: performer does not train; see docs/numerics.md"),
])  # fmt: skip
def test_layers_that_do_not_train_are_named(tmp_path, change, said):
    write(tmp_path / "model", [{**entry, **change.get(i, {})} for i, entry in enumerate(LAYERS)])
    with pytest.raises(ModelError, match=said):
        tune.training(load(tmp_path / "model"), "all", "/models/a")


@pytest.mark.parametrize("words", [
    ["run", "train.safetensors", "x.npy"], ["deploy", "--model", "train.safetensors"],
    ["train", "train.safetensors", "data.npz", "--output", "out"],
    ["train", "train.safetensors", "--prepare"],
    ["quantize", "train.safetensors", "--calibration", "x.npy", "--output", "out"],
])
def test_a_training_file_is_no_model(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model")
    config, tensors, _ = tune.prepare(load(tmp_path / "model"), "head", "/models/m", 4, "sgd")
    (tmp_path / "train.safetensors").write_bytes(pack(config, tensors))
    np.save("x.npy", X)
    np.savez("data.npz", inputs=X, labels=LABELS)
    board = [] if words[0] == "quantize" else ["--board", "/dev/nosuch"]
    assert main([*words, *board]) == 2
    assert capsys.readouterr().err.startswith(
        "attn8: train.safetensors: it is a training file and no model; give the model that it "
        "trains")


def test_what_cuts_a_graph_apart_is_named():
    said = ("encoder.layers.1.add_2: it takes encoder.layers.1.add as well, which does not train; "
            "give --layers last:5")
    with pytest.raises(ModelError, match=said):
        tune.training(load(MODELS / "speakers.safetensors"), "last:3", "/models/a")


def test_a_whole_transformer_trains_its_head(tmp_path):
    """Behind a front that is a graph and heeds lengths."""
    model = load(MODELS / "speakers.safetensors", False)
    config, _, names = tune.training(model, "head", "/models/a")
    assert names == ["head"] and config["layers"][0]["last"] == "mean_pool"
    assert tune.training(model, "last:2", "/models/a")[2] == ["encoder.norm", "head"]
    found = DEMO.read()
    some = np.arange(0, len(found.inputs), 9)
    np.savez(tmp_path / "data.npz", inputs=found.inputs[some], labels=found.labels[some],
             lengths=np.array(found.lengths)[some])
    results = tmp_path / "train.json"
    assert main(["train", str(MODELS / "speakers.safetensors"), str(tmp_path / "data.npz"),
                 "--layers", "head", "--epochs", "2", "--output", str(tmp_path / "made"), "--board",
                 "virtual", "--json", str(results), "--png", str(tmp_path / "x.png")]) == 0
    outcome = json.loads(results.read_text())
    assert outcome["bit_exact"] is True and outcome["layers"] == ["head"]
    assert outcome["history"][1]["loss"] < outcome["history"][0]["loss"]


def test_samples_that_say_no_lengths_are_named(tmp_path, capsys):
    found = DEMO.read().first(20)
    np.savez(tmp_path / "data.npz", inputs=found.inputs, labels=np.arange(20) % 9)
    assert main(["train", str(MODELS / "speakers.safetensors"), str(tmp_path / "data.npz"),
                 "--layers", "head", "--output", str(tmp_path / "made"),
                 "--board", "/dev/nosuch"]) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: all 32 tokens of each sample count:" in said


@pytest.mark.parametrize(("names", "said"), [
    (["rest", "wave", "\x1b[2J"], r"wave, \x1b[2J"), (["another", "model's"], "1, 2"),
    (None, "1, 2"),
])
def test_classes_without_a_sample_are_named(tmp_path, capsys, names, said):
    """As the file names them, where it names those of the model."""
    assert tune.missing(np.array([0, 2, 2]), 4) == [1, 3]
    model, data = tmp_path / "gestures.safetensors", tmp_path / "data.npz"
    write(model)
    x, labels = samples()
    held, _ = tune.split(np.random.default_rng(1), len(x))
    labels[:] = 0
    labels[held] = 1  # what validates trains nothing
    np.savez(data, inputs=x, labels=labels, **({} if names is None else {"names": names}))
    assert main(["train", str(model), str(data), "--layers", "head", "--output",
                 str(tmp_path / "made"), "--board", "/dev/nosuch"]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert f"warning: no sample that trains is of class {said}: what trains forgets it" in printed
