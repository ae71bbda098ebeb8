"""Model files: what the digits model reaches, loading, refusing, and running without allocation."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from attn8_host import cores, float_model, layers, modelfile
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.layers.base import LayerType
from attn8_host.model import load
from attn8_host.numerics import floating
from attn8_host.paths import DEVICE, MODELS
from attn8_host.quantize.model import quantize_model
from tests.compiled import compiled

PATH = MODELS / "digits.safetensors"


@pytest.fixture(scope="module")
def digits():
    """The int8 model, every test digit's int8 and float outputs, and the labels."""
    model = load(PATH)
    config, tensors = modelfile.read(MODELS / "digits_float.safetensors")
    data = load_file(MODELS / "digits_data.safetensors")
    inputs = (data["test.images"].astype(np.int16) * 7).astype(np.int8)
    outputs = [model(x) for x in inputs]
    floats = [float_model.run(config, tensors, x / np.float32(112)) for x in inputs]
    return model, inputs, outputs, floats, data["test.labels"]


def test_digits_reach_their_targets(digits):
    _, inputs, outputs, floats, labels = digits
    assert len(inputs) >= 300
    top1 = np.array([o["head"].argmax() for o in outputs])
    float_top1 = np.array([f["head"].argmax() for f in floats])
    accuracy, float_accuracy = (top1 == labels).mean(), (float_top1 == labels).mean()
    assert float_accuracy >= 0.95
    assert abs(accuracy - float_accuracy) <= 0.005
    assert (top1 == float_top1).mean() >= 0.995


def cosine(a, b):
    a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_attention_is_close_to_float_on_trained_activations(digits):
    model, _, outputs, floats, _ = digits
    entry = next(layer for layer in model.config["layers"] if layer["name"] == "attn")
    scales = entry["scales"]
    kernel, network = [], []
    for o, f in zip(outputs, floats, strict=True):
        q, k, v = (o[f"attn.{part}"].astype(float) for part in "qkv")
        exact = floating.attention(q, k, v, scales["q"] * scales["k"] / np.sqrt(q.shape[-1]))
        exact = np.clip(exact * scales["v"] / scales["heads"], -127, 127)
        assert np.abs(o["attn.heads"] - exact).max() <= 0.65
        kernel.append(cosine(o["attn.heads"], exact))
        network.append(cosine(o["attn"], f["attn"]))
    assert np.mean(kernel) >= 0.9997  # attention on the same int8 q, k, v
    assert np.mean(network) >= 0.999  # the whole network up to the layer's output


def test_the_model_file_is_what_the_quantizer_makes():
    config, tensors = modelfile.read(MODELS / "digits_float.safetensors")
    images = load_file(MODELS / "digits_data.safetensors")["calibration.images"]
    made_config, made = quantize_model(config, tensors, images.reshape(-1, 64) / 16)
    stored_config, stored = modelfile.read(PATH)
    assert made.keys() == stored.keys()
    for name in made:
        assert (made[name] == stored[name]).all(), name
    for made_layer, layer in zip(made_config["layers"], stored_config["layers"], strict=True):
        assert made_layer.get("constants") == layer.get("constants")


def test_an_inference_allocates_nothing(remote):
    assert remote.needs_no_heap("model(x)", """
from attn8 import load
model = load("/models/digits.safetensors", need_weights=True)
x = array("b", bytes(64))
""")


def test_a_fixed_memory_and_its_padding_come_with_the_file(board, remote, tmp_path):
    config, tensors = modelfile.read(PATH)
    rng = np.random.default_rng(1)
    tensors["attn.memory"] = rng.integers(-127, 128, (5, 16)).astype(np.int8)
    tensors["attn.key_padding_mask"] = np.array([0, 0, 1, 0, 1], np.int8)
    modelfile.write(tmp_path / "memory.safetensors", config, tensors)
    expected = load(tmp_path / "memory.safetensors")(np.arange(64, dtype=np.int8))
    push(board, "/models/memory.safetensors", (tmp_path / "memory.safetensors").read_bytes())
    names, *values = remote(
        "from attn8 import load\n"
        "model = load('/models/memory.safetensors', need_weights=True)\n"
        "model(x)\n"
        "give([name for name, _, _ in model.outputs])\n"
        "for _, _, values in model.outputs: give(values)",
        x=np.arange(64, dtype=np.int8),
    )
    assert set(names) == set(expected)
    for name, got in zip(names, values, strict=True):
        assert (got == expected[name].ravel()).all(), name
    assert expected["attn.weights.0"].shape == (8, 5)

    tensors["attn.key_padding_mask"] = np.zeros(4, np.int8)
    modelfile.write(tmp_path / "memory.safetensors", config, tensors)
    with pytest.raises(ModelError, match=r"attn: expected \[5\], got \[4\]"):
        load(tmp_path / "memory.safetensors")


def broken(tensors, config, path):
    path.write_bytes(save(tensors, {"config": json.dumps(config)}))


def drop(tensors, config):
    del tensors["attn.k.weight"]


def transpose(tensors, config):
    tensors["embed.weight"] = np.ascontiguousarray(tensors["embed.weight"].T)


def shorten(tensors, config):
    tensors["attn.v.mult"] = tensors["attn.v.mult"][:-1].copy()


def undivide(tensors, config):
    config["layers"][3]["num_heads"] = 3


def disconnect(tensors, config):
    config["layers"][4]["seq_len"] = 4


def lengthen(tensors, config):
    config["layers"][2]["shape"] = [517, 16]


def invent(tensors, config):
    config["layers"][1]["type"] = "swish"


def forget(tensors, config):
    del config["layers"][3]["causal"]


def confide(tensors, config):
    config["layers"][3]["secret"] = 1


def leave(tensors, config):
    tensors["attn.k.wieght"] = np.zeros(3, np.int8)


def widen(tensors, config):
    tensors["attn.k.weight"] = tensors["attn.k.weight"].astype(np.int16)


def mismatch(tensors, config):
    config["layers"][0]["output"] = "int32"
    del tensors["embed.mult"], tensors["embed.shift"]


def unfix(tensors, config):
    config["layers"].insert(3, {"type": "convert", "name": "c", "format": "Q8.8", "shift": 1})


BROKEN = [
    (drop, "missing tensor attn.k.weight"),
    (transpose, "embed.weight: expected"),
    (shorten, "attn.v.mult: expected"),
    (undivide, "attn.embed_dim: expected a multiple of num_heads 3, got 16"),
    (disconnect, "pool: takes 64 values, the layer before gives 128"),
    (lengthen, "tokens: takes 8272 values, the layer before gives 128"),
    (invent, "unknown layer type swish"),
    (confide, "unknown field secret"),
    (leave, "unused tensor attn.k.wieght"),
    (widen, "expected"),
    (mismatch, "takes int8, the layer before gives int32"),
    (unfix, "takes int8, the layer before gives Q8.8; put a convert layer between"),
    (forget, "the config lacks"),
]


@pytest.mark.parametrize("change, message", BROKEN, ids=[c.__name__ for c, _ in BROKEN])
def test_broken_models_are_refused_in_one_line(board, remote, tmp_path, change, message):
    config, tensors = modelfile.read(PATH)
    change(tensors, config)
    path = tmp_path / "broken.safetensors"
    broken(tensors, config, path)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert message in str(caught.value)

    push(board, "/models/broken.safetensors", path.read_bytes())
    said = remote.refused('load("/models/broken.safetensors")', "from attn8 import load")
    assert message in said


@pytest.mark.parametrize(
    "loader, form, says",
    [
        ("load", "attn8", "the config lacks name"),
        ("train.load", "attn8-train", "the config lacks name"),
        ("load", "attn8-train", "expected an attn8 model of version 1, got attn8-train: use "
         "attn8.train.load"),
        ("train.load", "attn8", "expected an attn8-train model of version 1, got attn8: use "
         "attn8.load"),
        ("load", "onnx", "expected an attn8 model of version 1"),
    ],
)
def test_what_a_file_is_not_is_said_by_the_board(board, remote, tmp_path, loader, form, says):
    broken({}, {"format": form, "version": 1}, tmp_path / "broken")
    push(board, "/models/broken.safetensors", (tmp_path / "broken").read_bytes())
    said = remote.refused(f'attn8.{loader}("/models/broken.safetensors")', "import attn8")
    assert said == f"/models/broken.safetensors: {says}"


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: data[:-10], "header: expected 10776 bytes of tensors, got 10766"),
        (lambda data: data[:100], "not a safetensors file"),
        (lambda data: b"\xff" * 8 + data[8:], "not a safetensors file"),
        (lambda data: data[:8] + b"?" + data[9:], "header: expected JSON"),
        (lambda data: b"", "not a safetensors file"),
    ],
)
def test_damaged_files_are_refused_by_the_board(board, remote, damage, message):
    push(board, "/models/damaged.safetensors", damage(PATH.read_bytes()))
    said = remote.refused('load("/models/damaged.safetensors")', "from attn8 import load")
    assert message in said


def test_a_missing_file_is_named(remote, tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "nowhere.safetensors")
    said = remote.refused('load("/nowhere.safetensors")', "from attn8 import load")
    assert said == "/nowhere.safetensors: no such file"


@pytest.mark.parametrize(("path", "message"), [
    ("/models", "/models: a folder; expected a file in it"),
    (5, "path: expected str, got int"),
])
def test_what_is_no_path_of_a_file_is_refused(remote, path, message):
    assert remote.refused(f"load({path!r})", "from attn8 import load") == message


def test_tensors_are_written_as_they_read_not_as_they_lie(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    config = {"format": "attn8", "version": 1, "name": "d", "input": {"shape": [2]}, "layers": [
        {"type": "dense", "name": "d", "in_features": 2, "out_features": 3, "bias": False}]}
    modelfile.write(tmp_path / "model", config, {"d.weight": matrix.T})
    assert (modelfile.read(tmp_path / "model")[1]["d.weight"] == matrix.T).all()


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": np.zeros(3, np.int8)}))
    with pytest.raises(ModelError, match="no attn8 config"):
        load(path)
    shutil.copy(__file__, path)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(path)


def test_a_sequence_that_is_too_long_is_refused_before_a_board_is_asked(tmp_path):
    config, tensors = modelfile.read(PATH)
    config["layers"][3]["seq_len"] = 517
    broken(tensors, config, tmp_path / "long.safetensors")
    with pytest.raises(ModelError, match="seq_len: expected 1 to 516, got 517"):
        load(tmp_path / "long.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [c], "expected an attn8 model of version 1"),
        (lambda c: c | {"version": 2}, "expected an attn8 model of version 1"),
        (lambda c: c | {"name": 7}, "the model.name: expected a word, got 7"),
        (lambda c: c | {"layers": []}, "the config lacks layers"),
        (lambda c: c | {"layers": ["dense"]}, "the config lacks layers"),
        (lambda c: c | {"layers": c["layers"][:1] * 2}, "embed: two layers have this name"),
        (lambda c: c | {"input": 64}, "the model.input: expected an object, got 64"),
        (lambda c: c | {"input": {"shape": [-64]}},
         "input.shape: expected a list of whole numbers from 1, got [-64]"),
        (lambda c: c | {"input": {"shape": [64], "scale": 0}},
         "input.scale: expected a number above 0, got 0"),
        (lambda c: change_attention(c, num_heads=0),
         "attn.num_heads: expected a whole number from 1 to 32768, got 0"),
        (lambda c: change_attention(c, seq_len="8"),
         'attn.seq_len: expected a whole number from 1 to 32768, got "8"'),
        (lambda c: change_attention(c, core=["exact"]), "attn.core: expected a word"),
        (lambda c: change_attention(c, causal=None), "attn.causal: expected true or false"),
        (lambda c: change_attention(c, options=None), "attn.options: expected an object, got null"),
        (lambda c: change_attention(c, options={"tile": 4}),
         "attn.options: unknown field tile; expected precise"),
        (lambda c: change_attention(c, core="flash", constants={}, options={"block_size": 0}),
         "attn.options.block_size: expected a whole number from 1 to 516, got 0"),
        (lambda c: change_attention(c, core="linear", constants={}, options={"phi": "gelu"}),
         'attn.options.phi: expected relu, relu+1 or elu+1, got "gelu"'),
        (lambda c: change_attention(c, core="flash"),
         "attn.constants: unknown field score_limit; expected score_mult"),
    ],
)  # fmt: skip
def test_what_a_config_says_is_checked(tmp_path, capsys, change, message):
    config, tensors = modelfile.read(PATH)
    path = tmp_path / "broken.safetensors"
    broken(tensors, change(config), path)
    np.save(tmp_path / "inputs.npy", np.zeros((1, 64), np.int8))
    assert main(["run", str(path), str(tmp_path / "inputs.npy"), "--board", "virtual"]) == 2
    error = capsys.readouterr().err
    assert f"{path}: " in error
    assert message in error
    assert len(error.splitlines()) == 1


def change_attention(config, **change):
    config["layers"][3].update(change)
    return config


def test_the_layers_of_the_host_are_those_of_the_board():
    on_board = {path.stem for path in (DEVICE / "attn8/layers").glob("[!_]*.py")}
    training = {path.stem for path in (DEVICE / "attn8/train/layers").glob("[!_]*.py")}
    training.remove("features")  # what a board alone has in the place of front
    for name, kind in layers.types().items():
        assert (type(kind).build is not LayerType.build) == (name in on_board), name
        assert (type(kind).trainable is not LayerType.trainable) == (name in training), name
    assert layers.types().keys() == on_board | training
    on_board = {path.stem for path in (DEVICE / "attn8/cores").glob("[!_]*.py")}
    on_board -= {"cache", "one_pass"}  # what cores share
    assert cores.all_cores().keys() == on_board


def test_floats_need_the_input_scale_of_the_model(tmp_path, capsys):
    config, tensors = modelfile.read(PATH)
    del config["input"]["scale"], tensors["input.channels"]
    path = tmp_path / "model.safetensors"
    modelfile.write(path, config, tensors)
    np.save(tmp_path / "inputs.npy", np.zeros((1, 64), np.float32))
    assert main(["run", str(path), str(tmp_path / "inputs.npy"), "--board", "virtual"]) == 2
    assert "has no input scale" in capsys.readouterr().err


BROKEN_MODULE = """
import os
import attn8
from attn8.find import module
attn8.names.NAMES["Broken"] = "layers.broken"
path = "/lib/attn8/layers/broken.py"
with open(path, "wb") as file:
    file.write(b"import nosuch")
for look in (lambda: attn8.Broken(), lambda: module("layers", "broken")):
    try:
        look()
    except ImportError as error:
        give(str(error))
os.remove(path)
try:
    attn8.Absent
except AttributeError as error:
    give(str(error))
for name in ("absent", "", "./", "__init__", "a b", 5):
    give(str(module("layers", name)))
"""


@pytest.mark.board("virtual")
def test_a_broken_module_says_what_it_lacks_and_an_absent_one_is_none(remote):
    *broken, absent, first, second, third, fourth, fifth, sixth = remote(compiled(BROKEN_MODULE))
    assert broken == ["no module named 'nosuch'"] * 2
    assert absent == "Absent"
    assert {first, second, third, fourth, fifth, sixth} == {"None"}
