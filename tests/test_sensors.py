"""Quantization of what real sensors give: channels of other sizes, units and offsets, and spikes.

The task: three classes of windows, by the frequencies in six channels. Its model, a convolution and
the mean of its magnitudes (two ReLUs), is solved in closed form.
"""

import json

import numpy as np
import pytest

from attn8_host import float_model, modelfile
from attn8_host.cli import main
from attn8_host.model import Model
from attn8_host.proof.classes import Classified
from attn8_host.quantize import channels, ranges
from attn8_host.quantize.best import best
from attn8_host.quantize.file import quantize_file
from attn8_host.quantize.model import Calibration, quantize_model

STEPS, WIDTH, FILTERS, KERNEL, CLASSES = 32, 6, 16, 5, 3
ONE, ZERO = np.ones(WIDTH), np.zeros(WIDTH)


def windows(rng, n):
    """Float inputs [n, STEPS, WIDTH] of spread 1 or so, and their classes."""
    labels = rng.integers(0, CLASSES, n)
    t, phase = np.arange(STEPS)[:, None], rng.uniform(0, 6.3, (n, 1, WIDTH))
    frequency = 0.3 + 0.4 * (labels[:, None, None] + np.arange(WIDTH) % 2)
    x = np.sin(frequency * t + phase) + rng.normal(0, 0.5, (n, STEPS, WIDTH))
    return x.astype(np.float32), labels


def floats(config, tensors, x):
    run = float_model.prepare(config, tensors)
    return np.array([run(each)["head"] for each in x])


@pytest.fixture(scope="module")
def task():
    """Config and tensors of the float model, calibration inputs, test inputs and their classes."""
    rng = np.random.default_rng(0)
    x, labels = windows(rng, 2000)
    positions = STEPS - KERNEL + 1
    config = {
        "format": "attn8", "version": 1, "name": "sensors", "input": {"shape": [STEPS, WIDTH]},
        "layers": [
            {"type": "conv1d", "name": "conv", "length": STEPS, "channels": WIDTH,
             "kernel_size": KERNEL, "stride": 1, "filters": FILTERS},
            {"type": "relu", "name": "relu"},
            {"type": "mean_pool", "name": "pool", "seq_len": positions, "embed_dim": FILTERS},
            {"type": "dense", "name": "head", "in_features": FILTERS, "out_features": CLASSES,
             "output": "int32"},
        ],
    }  # fmt: skip
    tensors = {
        "conv.weight": rng.normal(0, 0.4, (FILTERS, KERNEL, WIDTH)),
        "conv.bias": np.full(FILTERS, -0.3),
        "head.weight": np.zeros((CLASSES, FILTERS)), "head.bias": np.zeros(CLASSES),
    }
    run = float_model.prepare(config, tensors)
    pooled = np.c_[np.array([run(each)["pool"] for each in x]), np.ones(len(x))]
    solved = np.linalg.lstsq(pooled, np.eye(CLASSES)[labels], rcond=None)[0]
    tensors["head.weight"], tensors["head.bias"] = solved[:-1].T.copy(), solved[-1].copy()
    test = windows(rng, 600)
    return config, tensors, x[:300], *test


def disturbed(task, units, offsets):
    """The task where channels are x * units + offsets, and its model, which computes the same."""
    config, tensors, *data, labels = task
    weight = tensors["conv.weight"] / units
    tensors = {**tensors, "conv.weight": weight,
               "conv.bias": tensors["conv.bias"] - (weight * offsets).sum(axis=(1, 2))}
    return config, tensors, *((x * units + offsets).astype(np.float32) for x in data), labels


def put(values, channel, value):
    values = values.copy()
    values[channel] = value
    return values


def spiked(task):
    config, tensors, calibration, *test = task
    calibration = calibration.copy()
    calibration[100, 10, 3] = 200
    return config, tensors, calibration, *test


DISTURBANCES = {
    "none": lambda task: task,
    "a channel 30 times smaller": lambda task: disturbed(task, put(ONE, 2, 1 / 30), ZERO),
    "an offset of 200 sigma": lambda task: disturbed(task, ONE, put(ZERO, 4, 200.0)),
    "a spike of 200 sigma in 300 windows": spiked,
    "g and degrees a second": lambda task: disturbed(task, np.r_[ONE[:3], 400 * ONE[3:]], ZERO),
    "pascal": lambda task: disturbed(task, put(ONE, 5, 120.0), put(ZERO, 5, 101325.0)),
    "nine decades": lambda task: disturbed(task, 10.0 ** np.linspace(-4, 5, WIDTH), ZERO),
}


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_disturbance_costs_at_most_a_point(task, disturbance):
    config, tensors, calibration, x, labels = DISTURBANCES[disturbance](task)
    wanted = (floats(config, tensors, x).argmax(axis=1) == labels).mean()
    assert wanted > 0.8
    calibrating = Calibration(config, tensors, calibration)
    model = Model(*calibrating.quantized(*best(calibrating)))
    right = np.mean([model(each)["head"].argmax() for each in model.feed(x)] == labels)
    assert right >= wanted - 0.01


def test_one_scale_costs_more_where_a_spike_sets_it(task):
    config, tensors, calibration, x, labels = spiked(task)
    rights = {}
    for method in ranges.METHODS:
        model = Model(*quantize_model(config, tensors, calibration, inputs=method))
        said = [model(each)["head"].argmax() for each in model.feed(x)]
        rights[method] = np.mean(said == labels)
    assert rights["least-error"] > rights["absmax"]


def warnings(task, change=None):
    config, tensors, calibration, *_ = task
    calibration = calibration.copy()
    if change:
        change(calibration)
    return channels.measure(config, tensors, calibration, "least-error").warnings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., 1].fill(5), "input channel 1: never changes in the calibration inputs; "),
        (lambda x: np.clip(x[..., 2], -0.7, 0.7, out=x[..., 2]), "input channel 2 is -0.7, its "),
        (lambda x: x.__setitem__((7, 7, 3), 1e4), "input channel 3: 1 of 9,600 values are far"),
    ],
)
def test_what_is_odd_about_a_channel_is_said_with_its_name(task, change, message):
    assert warnings(task) == []
    assert warnings(task, change)[0].startswith(message)


def test_a_given_scale_that_does_not_fit_is_said(task):
    config = task[0] | {"input": {"shape": [STEPS, WIDTH], "scale": 0.001}}
    found = warnings((config, *task[1:]))
    assert len(found) == WIDTH
    assert found[0].startswith("input channel 0 is mostly beyond its range, -0.127 to 0.127; take")


def test_where_the_first_layer_is_not_linear_channels_share_a_scale(task):
    rng = np.random.default_rng(1)
    config = {
        "format": "attn8", "version": 1, "name": "plain", "input": {"shape": [4, 3]},
        "layers": [{"type": "relu", "name": "relu"},
                   {"type": "dense", "name": "head", "in_features": 12, "out_features": 2}],
    }  # fmt: skip
    tensors = {"head.weight": rng.normal(size=(2, 12)), "head.bias": np.zeros(2)}
    x = (rng.normal(size=(50, 4, 3)) * [1, 1, 0.01]).astype(np.float32)
    found = channels.measure(config, tensors, x, "absmax")
    assert not found.folded and len(found.scales) == 1
    (line,) = found.warnings
    assert line.startswith("input channel 2 has ") and "put a dense layer in front" in line


LINEAR = {
    "dense": ({"type": "dense", "rows": 4, "in_features": 6, "out_features": 5}, [4, 6], 1),
    "no bias": ({"type": "dense", "rows": 4, "in_features": 6, "out_features": 5, "bias": False},
                [4, 6], 1),
    "dense of all": ({"type": "dense", "in_features": 24, "out_features": 5}, [4, 6], 1),
    "conv1d": ({"type": "conv1d", "length": 4, "channels": 6, "kernel_size": 3, "stride": 1,
                "filters": 5}, [4, 6], 1),
    "depthwise": ({"type": "conv1d", "length": 4, "channels": 6, "kernel_size": 3, "stride": 1,
                   "filters": 12, "groups": 6}, [4, 6], 1),
    "one channel": ({"type": "conv1d", "length": 24, "kernel_size": 3, "stride": 2, "filters": 5},
                    [24], None),
    "attention": ({"type": "attention", "seq_len": 4, "embed_dim": 6, "num_heads": 2,
                   "core": "exact", "causal": False}, [4, 6], 1),
}  # fmt: skip


@pytest.mark.parametrize("first", LINEAR)
@pytest.mark.parametrize("turned", [False, True])
def test_a_folded_model_computes_the_same(first, turned):
    entry, shape, axis = LINEAR[first]
    rng = np.random.default_rng(2)
    entry = {**entry, "name": "first"}
    layers = [entry]
    if turned and len(shape) == 2:
        # Channels first, which a transpose makes last
        shape, axis = shape[::-1], 0 if first != "dense of all" else 1
        layers = [{"type": "transpose", "name": "turn", "rows": shape[0], "columns": shape[1]},
                  entry]
    config = {"format": "attn8", "version": 1, "name": "f", "input": {"shape": shape},
              "layers": layers}
    wanted = {key: tensor.shape for key, tensor in
              float_model.layers.get(entry["type"]).float_tensors(entry).items()}
    tensors = {f"first.{key}": rng.normal(size=size) for key, size in wanted.items()}
    size = [n if i == axis else 1 for i, n in enumerate(shape)]
    scales, offsets = (np.broadcast_to(rng.uniform(0.1, 9, size), shape) for _ in range(2))
    x = rng.normal(size=shape)
    folded = channels.fold(config, tensors, scales, offsets)
    biased = {**config, "layers": [*layers[:-1], {**entry, "bias": True}]}
    biased = biased if "bias" in entry else config
    want = float_model.run(config, tensors, x * scales + offsets)["first"]
    assert np.allclose(float_model.run(biased, folded, x)["first"], want, rtol=1e-9, atol=1e-9)
    assert channels._axis(config, tensors, tuple(shape)) == (axis, True, True)


def test_what_pads_with_zeros_keeps_its_offsets():
    entry = {"type": "conv1d", "name": "conv", "length": 9, "channels": 2, "kernel_size": 3,
             "stride": 1, "padding": 1, "filters": 4}
    config = {"format": "attn8", "version": 1, "name": "f", "input": {"shape": [9, 2]},
              "layers": [entry]}
    rng = np.random.default_rng(3)
    tensors = {"conv.weight": rng.normal(size=(4, 3, 2)), "conv.bias": np.zeros(4)}
    x = (rng.normal(size=(50, 9, 2)) * [1, 0.1] + [0, 50]).astype(np.float32)
    found = channels.measure(config, tensors, x, "absmax")
    assert found.folded and not found.offsets.any()
    (line,) = found.warnings
    assert line.startswith("input channel 1 has ") and "take its mean off" in line


def test_a_histogram_that_grows_finds_the_same_ranges():
    rng = np.random.default_rng(4)
    values = rng.normal(size=20000)
    at_once, grown = ranges.Histogram(), ranges.Histogram()
    at_once.add(values)
    for part in np.split(np.sort(np.abs(values)), 50):
        grown.add(part)
    assert at_once.range("absmax") == grown.range("absmax") == np.abs(values).max()
    for method in ranges.METHODS[1:]:
        assert at_once.range(method) == pytest.approx(grown.range(method), rel=0.02)
    assert (np.abs(values) > at_once.range("percentile")).mean() == pytest.approx(1e-3, abs=3e-4)


@pytest.fixture
def files(task, tmp_path):
    """A float model file, calibration inputs, test inputs and labels in a folder."""
    config, tensors, calibration, x, labels = disturbed(task, put(ONE, 2, 1 / 30), ZERO)
    modelfile.write(tmp_path / "float.safetensors", config, tensors)
    np.save(tmp_path / "calibration.npy", calibration)
    np.save(tmp_path / "test.npy", x[:40])
    np.save(tmp_path / "labels.npy", labels[:40])
    return tmp_path


def quantized(folder, *options):
    return main(["quantize", str(folder / "float.safetensors"), "--calibration",
                 str(folder / "calibration.npy"), "--output", str(folder / "int8.safetensors"),
                 *options])  # fmt: skip


def test_quantize_says_what_each_layer_costs(files):
    assert quantized(files, "--json", str(files / "q.json"), "--require-agreement", "95") == 0
    found = json.loads((files / "q.json").read_text())
    assert found.keys() == {"samples", "top1_agreement", "cosine", "lowest_cosine", "layers",
                            "input_calibration", "activation_calibration", "warnings"}
    assert found["top1_agreement"] >= 0.95
    assert [row["name"] for row in found["layers"]] == ["conv", "relu", "pool", "head"]
    for row in found["layers"]:
        assert 0 < row["mean_error"] < 0.01 and row["mean_error"] < row["max_error"] < 0.2
        assert 0.999 < row["cosine"] < 1


def test_too_little_agreement_ends_with_status_1(files, capsys):
    config, tensors = modelfile.read(files / "float.safetensors")
    # Two classes that differ by less than a step
    tensors["head.weight"][1] = tensors["head.weight"][0]
    tensors["head.bias"][1] = tensors["head.bias"][0] + 1e-9
    modelfile.write(files / "float.safetensors", config, tensors)
    assert quantized(files, "--require-agreement", "100") == 1
    assert "is less than 100%" in capsys.readouterr().out
    assert quantized(files, "--require-agreement", "0") == 0


@pytest.mark.parametrize("calibrate", ranges.METHODS)
def test_each_method_can_be_asked_for(files, calibrate):
    found = quantize_file(files / "float.safetensors", files / "calibration.npy",
                          files / "int8.safetensors", calibrate=calibrate)
    assert found.input_calibration == found.activation_calibration == calibrate
    assert found.top1_agreement > 0.95


def test_a_run_with_labels_says_what_was_taken_for_what(files, capsys):
    assert quantized(files) == 0
    assert main(["run", str(files / "int8.safetensors"), str(files / "test.npy"),
                 "--labels", str(files / "labels.npy"), "--board", "virtual",
                 "--png", str(files / "picture.png"), "--json", str(files / "run.json")]) == 0
    found = json.loads((files / "run.json").read_text())
    assert found["bit_exact"] is True and found["mismatches"] == 0
    assert 0 < found["p50_us"] <= found["p95_us"] <= found["max_us"]
    assert found["ram_bytes"] > 0
    labels, confusion = np.load(files / "labels.npy"), np.array(found["confusion"])
    assert (confusion.sum(axis=1) == np.bincount(labels, minlength=CLASSES)).all()
    assert found["accuracy"] == np.trace(confusion) / 40 > 0.7
    assert f"{found['accuracy']:.2%}" in capsys.readouterr().out
    assert (files / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("names, said", [
    (["rest", "[red]wave", "$"], ["rest", "[red]wave", "$"]),
    (["rest", "wave"], ["0", "1", "2"]),  # of another model's classes
    ([0, 1, 2], "names: expected texts, got int64 [3]"),
])
def test_classes_have_the_names_that_a_file_has(files, capsys, names, said):
    assert quantized(files) == 0
    data, picture = files / "data.npz", files / "named.png"
    np.savez(data, inputs=np.load(files / "test.npy"), labels=np.load(files / "labels.npy"),
             names=names)
    status = main(["run", str(files / "int8.safetensors"), str(data), "--labels", str(data),
                   "--board", "virtual", "--png", str(picture)])
    out, err = capsys.readouterr()
    if isinstance(said, str):
        assert status == 2 and f"{data}: {said}" in err
        return
    assert status == 0 and picture.read_bytes().startswith(b"\x89PNG")
    rows = out.partition("What is (rows)")[2].splitlines()
    head = next(row for row in rows if "┃" in row)
    assert [each.strip() for each in head.split("┃")[2:-1]] == said
    assert [row.split("│")[1].strip() for row in rows if row.startswith("│")] == said


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(39, int), "expected labels of whole numbers [40], one an input, got int64 [39]"),
        (np.zeros((40, 1), int),
         "expected labels of whole numbers [40], one an input, got int64 [40, 1]"),
        (np.zeros(40), "expected labels of whole numbers [40], one an input, got float64 [40]"),
        (np.r_[np.zeros(39, int), 3], "expected labels from 0 to 2, as many classes as the model "
         "gives values, got 3 of sample 39"),
        (np.r_[-1, np.zeros(39, int)], "expected labels from 0 to 2, as many classes as the model "
         "gives values, got -1 of sample 0"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused(files, capsys, labels, message):
    assert quantized(files) == 0
    np.save(files / "labels.npy", labels)
    assert main(["run", str(files / "int8.safetensors"), str(files / "test.npy"),
                 "--labels", str(files / "labels.npy"), "--board", "virtual"]) == 2
    assert message in capsys.readouterr().err


def test_classes_are_counted_by_what_they_are_and_what_is_said():
    found = Classified(np.array([0, 0, 1]), 2)
    found.count([np.array([3, 1]), np.array([1, 3]), np.array([-1, 0])])
    assert found.confusion.tolist() == [[1, 1], [0, 1]]
    assert found.as_dict() == {"accuracy": 2 / 3, "confusion": [[1, 1], [0, 1]]}
