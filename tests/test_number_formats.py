"""The published pipeline in every number format, Conv1D, reshape, SelfAttention1D and a classifier,
and with relu and mean_pool in it: from a float model through quantize and run; and what only such
models have, dense, relu, mean_pool and convert."""

import json
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from attn8_host import modelfile
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.layers.convert import Convert, factor
from attn8_host.layers.dense import QDense
from attn8_host.layers.mean_pool import QMeanPool
from attn8_host.layers.relu import ReLU
from attn8_host.link.protocol import CALIBRATE, QUANTIZE, TRAIN
from attn8_host.model import load
from attn8_host.numerics.formats import FIXED, NAMES, Format
from attn8_host.plan.inference import plan
from attn8_host.proof.run import run
from attn8_host.quantize.file import quantize_file
from attn8_host.train.arithmetic import ratio
from attn8_host.train.session import Training, pack
from tests.test_kernels import Call, alignment, machine_settings
from tests.test_selfattention1d import formats, values

LAYERS: list[dict[str, Any]] = [
    {"type": "conv1d", "name": "conv", "length": 128, "kernel_size": 5, "stride": 2, "filters": 4},
    {"type": "reshape", "name": "tokens", "shape": [62, 4]},
    {"type": "self_attention_1d", "name": "attn", "seq_len": 62, "embed_dim": 4,
     "projection_dim": 4},
    {"type": "dense", "name": "classifier", "in_features": 248, "out_features": 3},
]  # fmt: skip


POOLED: list[dict[str, Any]] = [
    LAYERS[0], {"type": "relu", "name": "relu"}, *LAYERS[1:3],
    {"type": "mean_pool", "name": "pool", "seq_len": 62, "embed_dim": 4},
    {"type": "dense", "name": "logits", "in_features": 4, "out_features": 3},
]  # fmt: skip


def write(path, layers=LAYERS, **scaled):
    """A float model of these layers; `scaled` multiplies tensors by the layer's name."""
    rng = np.random.default_rng(5)
    tensors = {
        "conv.weight": rng.normal(0, 0.5, (4, 5)), "conv.bias": rng.normal(0, 0.1, 4),
        "attn.weights": rng.normal(0, 0.3, (3, 4, 4)), "attn.biases": rng.normal(0, 0.1, (3, 4)),
        "classifier.weight": rng.normal(0, 0.1, (3, 248)),
        "classifier.bias": rng.normal(0, 0.1, 3),
        "logits.weight": rng.normal(0, 1, (3, 4)), "logits.bias": rng.normal(0, 0.1, 3),
    }
    names = {entry["name"] for entry in layers}
    tensors = {key: value * scaled.get(key.split(".")[0], 1) for key, value in tensors.items()
               if key.split(".")[0] in names}
    modelfile.write(path, {"format": "attn8", "version": 1, "name": "sensor",
                           "input": {"shape": [128]}, "layers": layers}, tensors)
    return tensors


def sensor(path, count=24):
    """Waves of three frequencies, in units of the sensor's own."""
    rng = np.random.default_rng(6)
    t = np.arange(128)
    waves = [np.sin(2 * np.pi * frequency * t + phase) * size for frequency, phase, size in
             zip(rng.choice([0.05, 0.11, 0.2], count), rng.uniform(0, 6, count),
                 rng.uniform(0.7, 1.3, count), strict=True)]
    x = np.stack(waves) + rng.normal(0, 0.1, (count, 128))
    np.save(path, x)
    return x


def published(x, tensors):
    """The text's steps in float64, for one input."""
    seen = np.lib.stride_tricks.sliding_window_view(x, 5)[::2]
    filters = (seen @ tensors["conv.weight"].T + tensors["conv.bias"]).T  # filter-major
    if "logits.weight" in tensors:
        filters = np.maximum(filters, 0)
    attn_input = filters.T  # time-step-major
    q, k, v = (attn_input @ w + b
               for w, b in zip(tensors["attn.weights"], tensors["attn.biases"], strict=True))
    out = np.maximum(q, 0) @ (np.maximum(k, 0).T @ v)
    if "logits.weight" in tensors:
        return out.mean(axis=0) @ tensors["logits.weight"].T + tensors["logits.bias"]
    return out.ravel() @ tensors["classifier.weight"].T + tensors["classifier.bias"]


@pytest.mark.parametrize("name, error", [
    ("Q8.8", 0.1), ("Q16.16", 0.02), ("Q24.8", 0.1), ("float", 0.02), ("double", 0.02),
])  # fmt: skip
@pytest.mark.parametrize("layers, values", [
    (LAYERS, 128 + 248 + 3 * 248 + 16 + 248 + 3),
    (POOLED, 128 + 2 * 248 + 3 * 248 + 16 + 248 + 4 + 3),
], ids=["published", "relu and mean_pool"])  # fmt: skip
def test_from_floats_to_the_board(board, tmp_path, layers, values, name, error):
    """Every value of every layer is NumPy's, and the answers are those of the text in float64, but
    for int8 inputs and the format's steps (over the largest result)."""
    tensors, x = write(tmp_path / "float.safetensors", layers), sensor(tmp_path / "x.npy")
    path = tmp_path / "model.safetensors"
    assert main(["quantize", str(tmp_path / "float.safetensors"), "--calibration",
                 str(tmp_path / "x.npy"), "--format", name, "--output", str(path)]) == 0
    model = load(path)
    board.enter_repl()
    outcome, result = run(board, model, path, model.feed(x), Console(quiet=True))
    assert outcome.bit_exact and outcome.mismatches == 0
    assert outcome.compared == len(x) * values
    wanted = np.stack([published(each, tensors) for each in x])
    got = np.stack([Format(name).decode(found[layers[-1]["name"]].ravel())
                    for found in result.outputs])
    assert (got.argmax(axis=1) == wanted.argmax(axis=1)).all()
    assert np.abs(got - wanted).max() < error * np.abs(wanted).max()


def test_as_commands(tmp_path, capsys):
    tensors, x = write(tmp_path / "float.safetensors"), sensor(tmp_path / "x.npy")
    labels = [published(each, tensors).argmax() for each in x]
    np.save(tmp_path / "y.npy", labels)
    source, inputs, labels, model, results = (
        str(tmp_path / name) for name in
        ("float.safetensors", "x.npy", "y.npy", "model.safetensors", "run.json"))
    assert main(["quantize", source, "--calibration", inputs, "--format", "Q16.16",
                 "--output", model]) == 0
    assert "same largest output 100.00%" in " ".join(capsys.readouterr().out.split())
    assert main(["run", model, inputs, "--labels", labels, "--board", "virtual",
                 "--json", results]) == 0
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["bit_exact"] and found["accuracy"] == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), form=formats, rows=st.integers(1, 4),
       inputs=st.integers(1, 9), outputs=st.integers(1, 6), scale=st.sampled_from([0, 0.3, 2]))
@example(seed=1, form=Format("float"), rows=2, inputs=5, outputs=3, scale=1)
@example(seed=2, form=Format("double"), rows=2, inputs=5, outputs=3, scale=1)
def test_dense_equals_the_reference(remote, seed, form, rows, inputs, outputs, scale):
    rng = np.random.default_rng(seed)
    weights, biases, x = (values(rng, form, scale, *shape)
                          for shape in ((outputs, inputs), (outputs,), (rows, inputs)))
    out = remote("""
from attn8 import QDense
layer = QDense(inputs, outputs, rows, *format)
layer.weights[:] = weights
layer.biases[:] = biases
give(layer(x))
""", inputs=inputs, outputs=outputs, rows=rows, weights=weights, biases=biases, x=x,
        format=(form.name, form.rounding, form.overflow))
    assert out.tobytes() == QDense(weights, biases, form)(x).tobytes()


def extreme(rng, form, *shape):
    """Stored values of the whole range, and its ends; of floats with -0.0 and infinities."""
    if form.name in FIXED:
        most = np.iinfo(form.dtype)
        x = rng.integers(most.min, most.max, shape, endpoint=True)
        x = np.where(rng.random(shape) < 0.3, rng.choice([most.min, most.max, -1, 0, 1], shape), x)
    else:
        x = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)
        x = np.where(rng.random(shape) < 0.1, rng.choice([-0.0, 0.0, np.inf], shape), x)
    return x.astype(form.dtype)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(NAMES), seq_len=st.integers(1, 40),
       embed_dim=st.integers(1, 6), cut=st.integers(0, 39))
def test_relu_and_mean_pool_equal_the_reference(remote, seed, name, seq_len, embed_dim, cut):
    """Of any values, of the first tokens alone too; x stays where it is."""
    form = Format(name)
    x = extreme(np.random.default_rng(seed), form, seq_len, embed_dim)
    length = max(1, seq_len - cut)
    relu, over, pool, first, after = remote("""
from attn8 import QMeanPool, QReLU
layer = QReLU(len(x), name)
give(layer(x))
for i in range(len(x)):
    layer.out[i] = x[i]
give(layer(layer.out))
give(QMeanPool(seq_len, embed_dim, name)(x))
layer = QMeanPool(seq_len, embed_dim, name, True)
layer.heed(length)
give(layer(x))
give(x)
""", name=name, seq_len=seq_len, embed_dim=embed_dim, length=length, x=x.ravel())
    assert relu.tobytes() == over.tobytes() == ReLU()(x).tobytes()
    assert after.tobytes() == x.tobytes()
    assert pool.tobytes() == QMeanPool(form)(x).tobytes()
    assert first.tobytes() == QMeanPool(form)(x, length).tobytes()
    if name in FIXED:
        exact = [floor(Fraction(int(column.sum(dtype=object)), seq_len) + Fraction(1, 2))
                 for column in x.T]
        assert pool.tolist() == exact
    else:
        assert (relu == np.maximum(x, 0).ravel()).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from([*FIXED]), rows=st.integers(1, 130),
       columns=st.integers(1, 5), offset=alignment)
def test_means_in_machine_code(machines, seed, name, rows, columns, offset):
    form = Format(name)
    x = extreme(np.random.default_rng(seed), form, rows, columns)
    check_mean(machines, form, x, offset)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("value", ["min", "max"])
def test_the_longest_means_in_machine_code(machines, name, value):
    """32768 tokens of the format's last number."""
    form = Format(name)
    x = np.full((1 << 15, 1), getattr(np.iinfo(form.dtype), value), form.dtype)
    assert (check_mean(machines, form, x, 0) == x[0]).all()


def check_mean(machines, form, x, offset):
    out = Call(machines("qmean"), offset)(
        "mean", x, 0, np.zeros(x.shape[1], form.dtype), *x.shape, x.itemsize)[2]
    found = out.read(form.dtype)
    assert (found == form.mean(x)).all()
    return found


def test_lengths_in_a_format(board, tmp_path):
    """Each token through a dense, and the mean of those that count."""
    rng = np.random.default_rng(3)
    layers = [{"type": "dense", "name": "fc", "rows": 6, "in_features": 3, "out_features": 4},
              {"type": "relu", "name": "relu"},
              {"type": "mean_pool", "name": "pool", "seq_len": 6, "embed_dim": 4,
               "lengths": True}]
    x, lengths = rng.normal(size=(12, 6, 3)), np.arange(12) % 6 + 1
    tensors = {"fc.weight": rng.normal(size=(4, 3)), "fc.bias": rng.normal(size=4)}
    modelfile.write(tmp_path / "float", {"format": "attn8", "version": 1, "name": "mean", "input": {
        "shape": [6, 3], "lengths": True}, "layers": layers}, tensors)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "lengths.npy", lengths)
    quantize_file(tmp_path / "float", tmp_path / "x.npy", tmp_path / "model", form="Q16.16",
                  lengths=tmp_path / "lengths.npy", calibrate="absmax")
    model = load(tmp_path / "model")
    board.enter_repl()
    outcome, result = run(board, model, tmp_path / "model", model.feed(x), Console(quiet=True),
                          lengths=lengths.tolist())
    assert outcome.bit_exact
    hidden = np.maximum(x @ tensors["fc.weight"].T + tensors["fc.bias"], 0)
    for found, tokens, n in zip(result.outputs, hidden, lengths, strict=True):
        assert np.abs(found["pool"].ravel() / 65536 - tokens[:n].mean(axis=0)).max() < 0.1


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([16, 32]), size=st.integers(1, 130),
       mult=st.integers(1 << 14, (1 << 15) - 1), down=st.integers(-9, 30), offset=alignment)
def test_scaled_in_machine_code(machines, seed, bits, size, mult, down, offset):
    down = max(down, 22 - (bits - 1))  # int8 stays within the format
    x = np.random.default_rng(seed).integers(-128, 128, size).astype(np.int8)
    wide = x.astype(np.int64) * mult
    wanted = (wide + (1 << down >> 1)) >> down if down > 0 else wide << -down
    _, out = Call(machines("qformat"), offset)(
        f"scale{bits}", x, np.zeros(size, f"i{bits // 8}"), size, mult, down)[:2]
    assert (out.read(f"i{bits // 8}") == wanted).all()


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), exponent=st.floats(-9, 6))
def test_int8_in_any_format_is_what_it_stands_for(remote, name, exponent):
    """Rounded to the format once, by a factor of 15 bits; what leaves the format is refused."""
    form, scale = Format(name), 10.0**exponent
    x = np.arange(-128, 128).astype(np.int8)
    try:
        mult, shift = factor(scale, form)
    except ModelError as error:
        steps = scale / form.step
        assert 128 * scale > form.most or steps < 2**-7, error
        return
    out = remote("""
from attn8 import Convert
give(Convert(256, name, shift, mult)(x))
""", name=name, mult=mult, shift=shift, x=x)
    assert out.tobytes() == Convert(form, shift, mult)(x).tobytes()
    assert out.dtype == form.dtype
    exact = x * (mult / 2**shift)
    step = form.step if name in FIXED else np.finfo(form.dtype).eps * np.abs(exact).max()
    assert np.abs(form.decode(out) - exact).max() <= step / 2
    assert abs(mult / 2**shift - scale) <= scale * 2**-15


@pytest.mark.parametrize("layers, form, scaled, said", [
    (LAYERS, None, {}, "attn: say what it computes in"),
    (LAYERS, "Q8.8", {"attn": 4},
     "attn.kv reaches 827.93, and Q8.8 ends at 127.996; take a format of more whole bits"),
    (LAYERS, "Q8.8", {"classifier": 4000}, "classifier.weight reaches 1313.4"),
    ([LAYERS[0], {**LAYERS[2], "format": "Q16.16"}, LAYERS[3]], None, {},
     "classifier: takes int8, attn gives Q16.16; give both the same format"),
    ([LAYERS[0], {**LAYERS[2], "format": "Q16.16"}, {**LAYERS[3], "format": "Q24.8"}], None, {},
     "classifier: takes Q24.8, attn gives Q16.16; give both the same format"),
    ([LAYERS[0], {**LAYERS[2], "activation_bits": 16}], "Q16.16", {},
     "attn.activation_bits: it computes in Q16.16; take out one of them"),
    ([{**LAYERS[0], "padding": 2}], "Q16.16", {},
     "conv.padding: unknown where the format is Q16.16; take it out"),
    ([{**LAYERS[3], "in_features": 128, "output": "int32"}], "float", {},
     "classifier.output: unknown where the format is float; take it out"),
    ([LAYERS[0], {**POOLED[4], "format": "Q16.16", "output": "int16"}], None, {},
     "pool.output: unknown where the format is Q16.16; take it out"),
    ([{**LAYERS[0], "format": "Q16.16"}, POOLED[4]], None, {},
     "pool: takes int8, conv gives Q16.16; give both the same format"),
    ([{"type": "relu", "name": "relu"}], "float", {},
     "--format float: no layer takes it; leave it out"),
])  # fmt: skip
def test_what_cannot_be_quantized_is_said(tmp_path, layers, form, scaled, said):
    write(tmp_path / "float.safetensors", layers, **scaled)
    sensor(tmp_path / "x.npy")
    with pytest.raises(ModelError) as raised:
        quantize_file(tmp_path / "float.safetensors", tmp_path / "x.npy", tmp_path / "model",
                      form=form, calibrate="absmax")
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["Q16.16", "Q24.8"])
def test_what_the_board_trained_it_runs(board, tmp_path, name):
    """Training and inference have one layout of the weights, and one format: the board trains all
    three layers, writes its words into the model's file, and runs that."""
    tensors, x = write(tmp_path / "float.safetensors"), sensor(tmp_path / "x.npy", 16)
    path = tmp_path / "trained.safetensors"
    quantize_file(tmp_path / "float.safetensors", tmp_path / "x.npy", path, form=name,
                  calibrate="absmax")
    before = load(path).tensors
    on_board, training_path = "/models/trained.safetensors", "/models/training.safetensors"
    config = {
        "format": "attn8-train", "version": 1, "name": "sensor", "numbers": name,
        "input": {"size": 128}, "layers": [LAYERS[0], *LAYERS[2:]], "loss": "cross_entropy",
        "optimizer": {"type": "sgd", "lr": ratio(0.01 if name == "Q16.16" else 0.5)},
        "clip_norm": 1.0, "batch": 4,
        "int8": on_board,
    }  # fmt: skip
    labels = np.arange(len(x)) % 3
    board.enter_repl()
    push(board, on_board, path.read_bytes())
    push(board, training_path, pack(config, tensors))
    with board.serve() as client:
        client.load(training_path, training=True)
        training = Training(client, config, tensors)
        for i in range(0, len(x), 4):
            training.run(TRAIN, x[i : i + 4], labels[i : i + 4])
        training.run(CALIBRATE, x[:4], labels[:4])
        client.run(np.array([QUANTIZE, 0], training.dtype).tobytes())
    assert training.bit_exact
    path.write_bytes(board.read_file(on_board))
    model = load(path)
    for param in training.reference.params:
        layer, _, part = param.name.partition(".")
        part = {"weight": "weights", "bias": "biases"}.get(part, part)
        assert (model.tensors[f"{layer}.{part}"] == param.value).all(), param.name
        assert (before[f"{layer}.{part}"] != param.value).any(), param.name
    board.enter_repl()
    outcome, _ = run(board, model, path, model.feed(x), Console(quiet=True))
    assert outcome.bit_exact


def test_int8_layers_before_a_format(tmp_path):
    """A dense in int8, and what it gives in Q16.16: a convert layer is put between them."""
    layers = [LAYERS[0], {**LAYERS[2], "format": "Q16.16"}]
    write(tmp_path / "float.safetensors", layers)
    sensor(tmp_path / "x.npy")
    found = quantize_file(tmp_path / "float.safetensors", tmp_path / "x.npy", tmp_path / "model")
    entries = load(tmp_path / "model").config["layers"]
    assert [entry["name"] for entry in entries] == ["conv", "conv.Q16.16", "attn"]
    assert found.cosine > 0.999


def test_no_chip_fits_doubles(tmp_path):
    write(tmp_path / "float.safetensors")
    sensor(tmp_path / "x.npy")
    fits = {}
    for name in ("float", "double"):
        quantize_file(tmp_path / "float.safetensors", tmp_path / "x.npy", tmp_path / name,
                      form=name, calibrate="absmax")
        model = load(tmp_path / name)
        fits[name] = set(plan(model.config, model.tensors).fits.values())
    assert fits == {"float": {True}, "double": {False}}


@pytest.mark.parametrize("code, message", [
    ("QDense(0, 1)", "in_features: expected 1 to 32768, got 0"),
    ("QDense(1, 1, 0)", "rows: expected 1 to 32768, got 0"),
    ("QDense(2, 3)(array('i', [0]))", "x: expected 2 values, got 1"),
    ("QDense(2, 3)(array('h', [0] * 2))", "x: expected array('i'), got array of 'h'"),
    ("QDense(2, 3).set_weight(3, 0, 1)", "row: expected 0 to 2, got 3"),
    ("QDense(2, 3).set_weight(0, 2, 1)", "column: expected 0 to 1, got 2"),
    ("QDense(2, 3).set_bias(3, 1)", "index: expected 0 to 2, got 3"),
    ("layer = QDense(2, 2)\nlayer(layer.out)", "x: expected memory apart from out"),
    ("QReLU(2)(array('h', [0] * 2))", "relu: expected array('i'), got array of 'h'"),
    ("layer = QReLU(2, 'Q8.8')\nlayer(memoryview(layer.out)[1:])",
     "relu: expected 2 values, got 1"),
    ("QReLU(2, 'Q1.1')", "format: expected one of Q16.16, Q24.8, Q8.8, double, float, got Q1.1"),
    ("QMeanPool(0, 1)", "mean_pool.seq_len: expected 1 to 32768, got 0"),
    ("QMeanPool(2, 3)(array('i', [0]))", "mean_pool: expected 6 values, got 1"),
    ("layer = QMeanPool(1, 2)\nlayer(layer.out)", "mean_pool: expected memory apart from out"),
    ("QMeanPool(3, 2, lengths=True).heed(4)", "length: expected 1 to 3, got 4"),
    ("Convert(4, 'Q8.8', 14, 32767)", "convert.shift: int8 leaves Q8.8, got 14"),
    ("Convert(4, 'Q16.16', 47, 16384)", "convert.shift: int8 leaves Q16.16, got 47"),
    ("Convert(4, 'float', 14, 1)", "convert.mult: expected 16384 to 32767, got 1"),
    ("Convert(4, 'float', 65, 16384)", "convert.shift: expected -64 to 64, got 65"),
    ("Convert(4, 'float', 0)", "convert.format: expected fixed point, or a mult, got float"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(remote, code, message):
    assert remote.refused(code, "from attn8 import Convert, QDense, QMeanPool, QReLU") == message
