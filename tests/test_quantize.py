"""`attn8 quantize`: from a float model file to an int8 one."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn8_host import float_model, modelfile
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.proof.compare import verify
from attn8_host.quantize.file import quantize_file

FLOAT = MODELS / "digits_float.safetensors"


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "calibration.npy"
    images = load_file(MODELS / "digits_data.safetensors")["calibration.images"]
    np.save(path, images.reshape(-1, 64).astype(np.float32) / 16)
    return path


def test_the_file_holds_what_a_board_runs(calibration, tmp_path):
    target = tmp_path / "int8.safetensors"
    found = quantize_file(FLOAT, calibration, target, calibrate="absmax")
    assert found.samples == 300
    assert found.top1_agreement == 1.0
    assert 0.998 < found.lowest_cosine <= found.cosine < 1.0
    made, shipped = load(target), load(MODELS / "digits.safetensors")
    assert made.tensors.keys() == shipped.tensors.keys()
    for name, tensor in shipped.tensors.items():
        assert (made.tensors[name] == tensor).all(), name


def test_any_model_of_known_layers(board, tmp_path):
    # No input scale, no reshape, a layer over every token, an int8 layer at the end: what a first
    # model of one's own looks like
    rng = np.random.default_rng(7)
    attention = {"type": "attention", "name": "a", "seq_len": 5, "embed_dim": 12, "num_heads": 3,
                 "core": "exact", "causal": True}
    config = {
        "format": "attn8", "version": 1, "name": "mine", "input": {"shape": [5, 12]},
        "layers": [
            attention,
            {"type": "dense", "name": "f", "in_features": 12, "out_features": 8, "rows": 5},
            {"type": "relu", "name": "r"},
            {"type": "dense", "name": "d", "in_features": 40, "out_features": 4},
        ],
    }  # fmt: skip
    path = "/models/mine.safetensors"
    tensors = {f"a.{p}.weight": rng.normal(0, 0.3, (12, 12)) for p in ("q", "k", "v", "out")}
    tensors |= {f"a.{p}.bias": rng.normal(0, 0.1, 12) for p in ("q", "k", "v", "out")}
    tensors |= {"f.weight": rng.normal(0, 0.3, (8, 12)), "f.bias": rng.normal(0, 0.1, 8)}
    tensors |= {"d.weight": rng.normal(0, 0.2, (4, 40)), "d.bias": rng.normal(0, 0.1, 4)}
    inputs = rng.normal(0, 1, (20, 5, 12)).astype(np.float32)
    source, target = tmp_path / "float.safetensors", tmp_path / "int8.safetensors"
    np.save(tmp_path / "inputs.npy", inputs)
    with pytest.raises(ModelError, match=r"expected numbers \[samples, 5, 12\]"):
        np.save(tmp_path / "flat.npy", inputs.reshape(20, 60))
        modelfile.write(source, config, tensors)
        quantize_file(source, tmp_path / "flat.npy", target)
    assert quantize_file(source, tmp_path / "inputs.npy", target).lowest_cosine > 0.99
    model = load(target)
    scale = model.config["input"]["scale"]
    assert scale == pytest.approx(np.abs(inputs).max() / 127)
    wanted = float_model.run(config, tensors, inputs[0])["d"]
    x = np.clip(np.round(inputs / scale), -127, 127).astype(np.int8)
    made = model(x[0])["d"]
    assert made.dtype == np.int8
    assert np.abs(made * model.config["layers"][-1]["scale"] - wanted).max() < 0.1
    push(board, path, target.read_bytes())
    with board.serve() as client:
        client.load(path)
        assert verify(client, model, x).bit_exact


def test_a_header_that_no_board_takes_is_refused_where_it_is_written(tmp_path, capsys):
    def floats(n):
        entries = [{"type": "dense", "name": f"product{i}", "in_features": 4, "out_features": 4,
                    "bias": False} for i in range(n)]
        return ({"format": "attn8", "version": 1, "name": "deep", "input": {"shape": [4]},
                 "layers": entries},
                {f"{entry['name']}.weight": np.eye(4, dtype=np.float32) for entry in entries})

    source, target = tmp_path / "float.safetensors", tmp_path / "int8.safetensors"
    modelfile.write(source, *floats(100))
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    assert main(["quantize", str(source), "--calibration", str(tmp_path / "x.npy"),
                 "--calibrate", "absmax", "--output", str(target)]) == 2
    said = re.fullmatch(rf"attn8: {target}: its header has (\d+) bytes, and a board takes 32768; "
                        "take fewer layers, or shorter names\n", capsys.readouterr().err)
    assert said and int(said[1]) > 32768
    for make in (lambda config, tensors: modelfile.write(target, config, tensors), modelfile.pack):
        with pytest.raises(ModelError, match="its header has"):
            make(*floats(200))
    assert {path.name for path in tmp_path.iterdir()} == {source.name, "x.npy"}


def test_a_header_of_too_many_channels_says_what_to_do(tmp_path, capsys):
    source, target = tmp_path / "float.safetensors", tmp_path / "int8.safetensors"
    config = {"format": "attn8", "version": 1, "name": "wide", "input": {"shape": [1024]},
              "layers": [{"type": "dense", "name": "head", "in_features": 1024, "out_features": 4,
                          "bias": False}]}
    modelfile.write(source, config, {"head.weight": np.ones((4, 1024), np.float32)})
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(9, 1024)))
    arguments = ["quantize", str(source), "--calibration", str(tmp_path / "x.npy"),
                 "--calibrate", "absmax", "--output", str(target)]
    assert main(arguments) == 2
    assert re.fullmatch(rf"attn8: {target}: its header has \d+ bytes, and a board takes 32768; "
                        "1024 scales and offsets of the input do not fit: give the input of the "
                        'float file one "scale"\n', capsys.readouterr().err)
    config["input"]["scale"] = 1 / 32
    modelfile.write(source, config, {"head.weight": np.ones((4, 1024), np.float32)})
    assert main(arguments) == 0 and load(target).input_size == 1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t.pop("attn.q.weight"), "the float model lacks attn.q.weight"),
        (lambda c, t: t.update({"head.weight": np.ones((10, 15), np.float32)}),
         "head.weight: expected floats [10, 16], got float32 [10, 15]"),
        (lambda c, t: t.update({"head.weight": np.ones((10, 16), np.int8)}),
         "head.weight: expected floats [10, 16], got int8 [10, 16]"),
        (lambda c, t: t.update({"embed.weight": t["embed.weight"] * 0,
                                "embed.bias": t["embed.bias"] * 0}),
         "embed is 0 throughout the calibration inputs"),
        (lambda c, t: t["attn.v.bias"].fill(np.nan),
         "attn.v.bias [16]: holds NaN or infinities; train it again"),
        (lambda c, t: t["head.weight"].__setitem__((0, 0), -np.inf),
         "head.weight [10, 16]: holds NaN or infinities; train it again"),
        (lambda c, t: t.update(spare=np.ones(3, np.float32)),
         "unused tensor spare; take it out of the file"),
        (lambda c, t: (t["attn.q.bias"].fill(1e30), t["attn.k.bias"].fill(1e30)),
         "attn.heads becomes nan"),
        (lambda c, t: t["attn.v.bias"].fill(1e30), "attn: ratio of scales: expected"),
        (lambda c, t: c["layers"][3].pop("num_heads"), "attn: the config lacks num_heads"),
        (lambda c, t: c["layers"][3].update(core="none"),
         "attn.core: there is no core none; expected one of"),
        (lambda c, t: c["layers"][3].update(seq_len=7), "attn: cannot reshape"),
        (lambda c, t: c["layers"][3].update(num_heads=3),
         "attn.embed_dim: expected a multiple of num_heads 3, got 16"),
        (lambda c, t: c["layers"][3].update(core="decode", causal=True, options={"cache_len": 4}),
         "attn: cache_len: expected seq_len 8 or more, got 4"),
        (lambda c, t: (c["layers"][3].update(core="performer"),
                       t.update({"attn.core.features": np.ones((1, 8, 8), np.float32)})),
         "attn.core.features: expected floats [2, any, 8], got float32 [1, 8, 8]"),
        (lambda c, t: c["layers"].__setitem__(0, {"type": "convert", "name": "embed",
                                                  "format": "Q8.8", "shift": 0}),
         "embed: there is no float layer of type convert; models with it are in integers already"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_quantized_are_refused_in_one_line(
    calibration, tmp_path, capsys, change, message
):
    config, tensors = modelfile.read(FLOAT)
    tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    change(config, tensors)
    source, target = tmp_path / "float.safetensors", tmp_path / "int8.safetensors"
    modelfile.write(source, config, tensors)
    status = main(["quantize", str(source), "--calibration", str(calibration),
                   "--output", str(target)])  # fmt: skip
    error = capsys.readouterr().err
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not target.exists()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 64)), np.full((3, 64), np.nan), np.full((3, 64), 1e300), np.ones(64),
        np.ones((3, 64), complex), np.ones((3, 64), bool),
    ],
)  # fmt: skip
def test_calibration_inputs_are_checked(tmp_path, values):
    np.save(tmp_path / "inputs.npy", values)
    with pytest.raises(ModelError, match=r"inputs\.npy"):
        quantize_file(FLOAT, tmp_path / "inputs.npy", tmp_path / "int8.safetensors")
