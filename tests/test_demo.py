"""The command line: the demo end to end, its JSON, its exit status, and bad input."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn8_host import modelfile
from attn8_host.cli import main
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.plan.inference import one_layer
from attn8_host.proof import demo

KEYS = {
    "board", "transport", "samples", "accuracy", "bit_exact", "mismatches", "compared",
    "max_lsb_vs_float", "cosine_vs_float", "top1_agreement_vs_float", "device_us_per_inference",
    "ram_bytes", "link_bytes_per_s",
}


def test_demo_proves_every_tensor(tmp_path, capsys):
    json_file, png = tmp_path / "demo.json", tmp_path / "map.png"
    arguments = ["demo", "--board", "virtual", "--samples", "20"]
    assert main([*arguments, "--json", str(json_file), "--png", str(png)]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome.keys() >= KEYS
    assert outcome["board"].keys() >= {
        "kind", "port", "implementation", "version", "machine", "arch"
    }
    assert outcome["bit_exact"] is True
    assert outcome["mismatches"] == 0
    assert outcome["compared"] == 20 * 1194
    assert outcome["max_lsb_vs_float"] <= 0.65
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "every bit equal" in " ".join(capsys.readouterr().out.split())


def test_demo_of_speakers_heeds_lengths(tmp_path):
    json_file, png = tmp_path / "demo.json", tmp_path / "map.png"
    arguments = ["demo", "speakers", "--board", "virtual", "--samples", "5"]
    assert main([*arguments, "--json", str(json_file), "--png", str(png)]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome.keys() >= KEYS
    assert outcome["bit_exact"] is True and outcome["mismatches"] == 0
    assert outcome["compared"] == 5 * 23841
    assert outcome["accuracy"] == outcome["float_accuracy"] == 1
    assert outcome["max_lsb_vs_float"] <= 0.65
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_speakers_of_the_demo():
    data = demo.demos()["speakers"].read()
    assert data.inputs.shape == (180, 32, 12) and data.inputs.dtype == np.float32
    assert (np.bincount(data.labels) == [20] * 9).all()
    for x, n in zip(data.inputs, data.lengths, strict=True):
        assert 1 <= n <= 32 and x[:n].any(axis=1).all() and not x[n:].any()


def test_demo_fails_when_one_weight_differs(tmp_path, monkeypatch):
    # The proof must be able to fail: the reference computes with one other weight
    load = demo.load

    def altered(path, need_weights):
        model = load(path, need_weights)
        model.tensors["attn.v.weight"][3, 5] ^= 1
        return model

    monkeypatch.setattr(demo, "load", altered)
    arguments = ["demo", "--board", "virtual", "--samples", "5", "--png", str(tmp_path / "a.png")]
    assert main(arguments) == 1


@pytest.fixture
def digits(tmp_path):
    path = tmp_path / "digits.npy"
    images = load_file(MODELS / "digits_data.safetensors")["test.images"][:3]
    np.save(path, images.reshape(3, 64) / 16)
    return path


def test_run_proves_a_model_over_inputs_of_ones_own(digits, tmp_path, capsys):
    model = MODELS / "digits.safetensors"
    files = {name: tmp_path / name for name in ("out.safetensors", "map.png", "run.json")}
    arguments = ["run", str(model), str(digits), "--board", "virtual"]
    for option, file in zip(("--output", "--png", "--json"), files.values(), strict=True):
        arguments += [option, str(file)]
    assert main(arguments) == 0
    outcome = json.loads(files["run.json"].read_text())
    assert outcome["bit_exact"] is True
    assert outcome["digest"] == outcome["expected_digest"]
    assert files["map.png"].read_bytes().startswith(b"\x89PNG")
    tensors = load_file(files["out.safetensors"])
    reference = load(model)
    for i, x in enumerate(np.load(digits)):
        for name, want in reference(np.round(x * 112).astype(np.int8)).items():
            assert (tensors[name][i] == want).all(), name
    capsys.readouterr()
    assert main(["run", str(model), str(digits), "--board", "virtual", "--no-weights"]) == 0
    assert "digits: 3 inputs" in capsys.readouterr().out


@pytest.mark.board("virtual")
def test_what_has_no_room_for_attention_maps_runs_without(tmp_path, capsys):
    """96 x 96 scores and weights of four heads are twice the memory of a chip."""
    config, tensors = one_layer("exact", 96, 32, 4)
    model, inputs, results = (tmp_path / name for name in ("a.safetensors", "x.npy", "run.json"))
    modelfile.write(model, config, tensors)
    np.save(inputs, np.random.default_rng(0).integers(-127, 128, (2, 96 * 32)).astype(np.int8))
    assert main(["run", str(model), str(inputs), "--board", "virtual", "--json", str(results)]) == 0
    outcome = json.loads(results.read_text())
    assert outcome["bit_exact"] and not outcome["need_weights"]
    assert outcome["compared"] == 2 * 5 * 96 * 32  # q, k, v, heads and the result
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"out of memory: attn needs \d+ bytes of memory and \d+ are free: goes on as "
                     "with --no-weights", said)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["demo", "--board", "nosuch"], "no such board: nosuch"),
        (["demo", "vowels"], "vowels: no such demo; there are digits, speakers"),
        (["demo", "--board", "/dev/ttyNONE"], "no such board or port: /dev/ttyNONE"),
        (["demo", "--board", "socket://127.0.0.1:1"], "cannot open socket://127.0.0.1:1"),
        (["demo", "--json", "/nowhere/a.json"], "cannot write /nowhere/a.json"),
        (["run", "none.safetensors", "none.npy"], "none.safetensors: no such file"),
        (["run", str(MODELS / "digits.safetensors"), "none.npy"], "none.npy: no such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "attn8_host", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"attn8: {message}")
    assert len(done.stderr.splitlines()) == 1
