"""`attn8 train iris` end to end: learns, is proven step by step, and survives a reset."""

import json

import numpy as np
import pytest

from attn8_host.cli import main
from attn8_host.train import session as train
from attn8_host.train.arithmetic import ratio

IRIS = ["train", "iris", "--board", "virtual"]
SHORT = [*IRIS, "--epochs", "1"]


def test_iris_is_learned_on_the_board(tmp_path, capsys):
    json_file, png = tmp_path / "iris.json", tmp_path / "iris.png"
    arguments = ["train", "iris", "--board", "virtual", "--epochs", "15"]
    assert main([*arguments, "--json", str(json_file), "--png", str(png)]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["bit_exact"] is True
    assert outcome["test_accuracy"] >= 0.94
    assert outcome["test_accuracy"] >= outcome["float64_test_accuracy"] - 0.02
    assert outcome["epochs"] == 15 == len(outcome["history"])
    assert outcome["overflows"] == 0 and outcome["overflows_grow"] is False
    assert outcome["device_us_per_step"] > 0
    first, *_, last = outcome["history"]
    assert last["loss"] < first["loss"]
    assert last["test_accuracy"] == outcome["test_accuracy"]  # what was saved is what was trained
    assert abs(last["loss"] - last["float64_loss"]) < 0.01
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "every bit equal" in capsys.readouterr().out


def test_one_wrong_word_is_noticed(tmp_path, monkeypatch):
    pack = train.pack

    def alter(config, tensors):
        tensors = {name: values.copy() for name, values in tensors.items()}
        tensors["attn.k.weight"][3, 5] += 2.0**-15
        return pack(config, tensors)

    monkeypatch.setattr(train, "pack", alter)
    assert main([*SHORT, "--png", str(tmp_path / "a.png")]) == 1


def test_a_run_that_saturates_says_so(tmp_path, monkeypatch, capsys):
    usual = train.iris_config

    def steep(*arguments):
        config = usual(*arguments)
        config.pop("clip_norm")
        config["optimizer"]["lr"] = ratio(0.4)
        return config

    monkeypatch.setattr(train, "iris_config", steep)
    json_file = tmp_path / "iris.json"
    assert main([*SHORT, "--json", str(json_file), "--png", str(tmp_path / "a.png")]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["overflows"] == outcome["history"][-1]["overflows"] > 0
    assert outcome["overflows_grow"] is True
    assert outcome["bit_exact"] is True
    assert "still in the last epoch" in capsys.readouterr().out


def test_floats_are_trained_but_not_compared(tmp_path):
    json_file = tmp_path / "iris.json"
    arguments = [*SHORT, "--numbers", "float", "--json", str(json_file)]
    assert main([*arguments, "--png", str(tmp_path / "a.png")]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["bit_exact"] is None
    (epoch,) = outcome["history"]
    assert abs(epoch["loss"] - epoch["float64_loss"]) < 1e-4


@pytest.mark.parametrize(
    "options, message",
    [
        (["--batch", "101"], "attn8: batch: expected 1 to 100 samples, got 101"),
        (["--epochs", "99999"], "attn8: epochs: expected 1 to 3276, got 99999"),
        (["--json", "/nowhere/a.json"], "attn8: cannot write /nowhere/a.json"),
    ],
)
def test_bad_input_is_one_line_and_status_2(options, message, capsys):
    assert main([*IRIS, *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


def test_the_test_flowers_are_not_trained_with():
    from safetensors.numpy import load_file

    from attn8_host.paths import MODELS

    data = load_file(MODELS / "iris_data.safetensors")
    assert data["train.x"].shape == (100, 4) and data["test.x"].shape == (50, 4)
    assert np.bincount(data["test.label"]).min() >= 16
