"""Imports: modules of PyTorch, and ONNX files of both its exporters, against what they compute."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import attn8_host  # noqa: E402
from attn8_host import float_model, modelfile  # noqa: E402
from attn8_host.cli import main  # noqa: E402
from attn8_host.errors import ModelError  # noqa: E402
from attn8_host.importers.onnx import from_onnx  # noqa: E402
from attn8_host.model import Model  # noqa: E402
from attn8_host.quantize.model import quantize_model  # noqa: E402
from tests import modules  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's own code

torch.manual_seed(0)
DATA = Path(__file__).parent / "data"
CASES = modules.cases()
ENCODER = ["layer_norm", "attention", "add", "layer_norm", "dense", "gelu", "dense", "add"]
POST = ["attention", "add", "layer_norm", "dense", "gelu", "dense", "add", "layer_norm"]
TYPES = {
    "encoder pre gelu": ["dense", "position", *ENCODER, *ENCODER, "layer_norm", "mean_pool",
                         "dense"],
    "encoder post gelu": ["dense", "position", *POST, *POST, "layer_norm", "mean_pool", "dense"],
    "encoder cls": ["dense", "class_token", "position", *POST, *POST, "layer_norm", "select",
                    "dense"],
    "encoder conv": ["conv1d", "position", *ENCODER, *ENCODER, "layer_norm", "mean_pool", "dense"],
    "fused": ["attention"],
    "fused bias": ["attention"],
    "softmax": ["attention"],
    "narrow": ["attention", "dense"],
    "wide": ["dense", "attention", "dense"],
    "grouped": ["attention"],
    "rms": ["rms_norm", "attention", "add", "rms_norm", "dense", "dense", "silu", "multiply",
            "dense", "add"],
    "own rms": ["rms_norm", "attention", "add", "rms_norm", "dense", "dense", "silu", "multiply",
                "dense", "add"],
    "convolutions": ["transpose", "conv1d", "relu", "conv1d", "gelu", "conv1d", "silu",
                     "mean_pool", "dense"],
    "flattened": ["conv1d", "tanh", "dense"],
    "cross": ["conv1d", "dense", "cross_attention", "add"],
    "queries": ["select", "dense", "cross_attention", "position", "layer_norm", "dense", "relu",
                "dense", "add", "layer_norm", "mean_pool", "dense"],
    "widths": ["attention", "add", "attention", "add"],
    "activations": ["dense"] * 14 + ["activation"] * 16,
    "pools": ["transpose", "conv1d", "relu", "max_pool", "conv1d", "max_pool", "conv1d", "conv1d",
              "max_pool", "conv1d", "max_pool", "dense"],
    "patches": ["transpose", "unfold", "dense", "dense", "max_pool"],
    "compact": ["transpose", "unfold", "dense", "relu", "max_pool", "max_pool", "unfold", "dense",
                "dense", "unfold", "dense", "dense", "max_pool"],
    "decomposed": ["layer_norm", "dense", "gelu", "attention", "dense", "add"],
}


# Of what the older exporter writes
UNTAKEN = {
    "grouped": "it does not take enable_gqa",
    "rms": "it does not take rms_norm",
    "convolutions": "onnxruntime does not take its auto_pad with a dilation",
}


def types(config):
    return sorted(entry["type"] for entry in config["layers"])


def differs(config, tensors, original, shape):
    """The largest difference over new random inputs."""
    rng = np.random.default_rng(7)
    most = 0.0
    for _ in range(3):
        x = rng.normal(size=shape).astype(np.float32)
        found = list(float_model.run(config, tensors, x.reshape(config["input"]["shape"]))
                     .values())[-1]
        most = max(most, float(np.abs(found.ravel() - original(x).ravel()).max()))
    return most


def evaluated(module):
    def original(x):
        with torch.no_grad():
            return module.eval()(torch.from_numpy(x)).numpy()

    return original


@pytest.mark.parametrize("name", CASES)
def test_modules(name):
    module, x = CASES[name]
    config, tensors = attn8_host.from_torch(module, x)
    modelfile.check_config(config)
    float_model.check(config, tensors)
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    if name in TYPES:
        assert types(config) == sorted(TYPES[name])
    assert differs(config, tensors, evaluated(module), tuple(x.shape)) < 1e-4


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("name", CASES)
def test_onnx(name, dynamo, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript")
    module, x = CASES[name]
    if not dynamo and name in UNTAKEN:
        pytest.skip(UNTAKEN[name])
    path = export(module, x, tmp_path, dynamo)
    config, tensors = from_onnx(path)
    if name in TYPES:
        assert types(config) == sorted(TYPES[name])
    session = runtime.InferenceSession(path)
    (given,) = session.get_inputs()

    def original(x):
        return session.run(None, {given.name: x})[0]

    assert differs(config, tensors, original, tuple(x.shape)) < 1e-4


def export(module, x, folder, dynamo=False, **options):
    path = folder / "model.onnx"
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if dynamo:
                options = {"external_data": False, "verbose": False, **options}
            given = x if isinstance(x, tuple) else (x,)
            torch.onnx.export(module.eval(), given, path, dynamo=dynamo, **options)
    finally:
        logging.disable(logging.NOTSET)
        torch.backends.mha.set_fastpath_enabled(fast)
    return path


def test_names_are_the_modules(tmp_path):
    wanted = ["embed", "position", "encoder.layers.0.norm1", "encoder.layers.0.self_attn",
              "encoder.layers.0.add", "encoder.layers.0.norm2", "encoder.layers.0.linear1",
              "encoder.layers.0.gelu", "encoder.layers.0.linear2", "encoder.layers.0.add_2"]
    module, x = modules.Encoder(layers=1), torch.randn(1, modules.S, 5)
    for config, _ in (attn8_host.from_torch(module, x),
                      from_onnx(export(module, x, tmp_path))):
        assert [entry["name"] for entry in config["layers"]][:10] == wanted


def test_multi_head_attention():
    module, x = nn.MultiheadAttention(12, 3, batch_first=True), torch.randn(1, 7, 12)
    config, tensors = attn8_host.from_torch(module, (x, x, x), output=0, core="flash")
    (entry,) = config["layers"]
    assert (entry["type"], entry["num_heads"], entry["core"]) == ("attention", 3, "flash")
    assert differs(config, tensors,
                   lambda x: module(*[torch.from_numpy(x)] * 3)[0].detach().numpy(),
                   (1, 7, 12)) < 1e-4


def test_several_outputs(tmp_path):
    module, x = modules.Joined(), torch.randn(1, modules.S, 5)
    with torch.no_grad():
        wanted = [each.numpy().ravel() for each in module.eval()(x)]
    for config, tensors in (attn8_host.from_torch(module, x),
                            from_onnx(export(module, x, tmp_path))):
        found = float_model.run(config, tensors, x[0].numpy())
        for name, values in zip(("other", "head"), wanted, strict=True):
            assert np.abs(found[name].ravel() - values).max() < 1e-4
    with pytest.raises(ModelError, match=r"unused tensor head\.weight"):
        attn8_host.from_torch(module, x, output=0)


class Learned(nn.Module):
    """Two learned queries, whose mean is what is asked for."""

    def __init__(self):
        super().__init__()
        self.queries, self.embed = nn.Parameter(torch.randn(1, 2, 16)), nn.Linear(4, 16)
        self.attend, self.head = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        memory = self.embed(x)
        return self.head(self.attend(self.queries, memory, memory)[0].mean(1))


CASES["learned queries"] = Learned().eval(), torch.randn(1, 8, 4)


@pytest.mark.parametrize("name", ["cross", "widths", "learned queries"])
def test_other_attention_can_be_quantized(name):
    module, x = CASES[name]
    config, tensors = attn8_host.from_torch(module, x)
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(20, *config["input"]["shape"])).astype(np.float32)
    made, integers = quantize_model(config, tensors, samples)
    model, scale = Model(made, integers), made["input"]["scale"]
    for sample in samples[:3]:
        given = np.clip(np.floor(sample / scale + 0.5), -127, 127).astype(np.int8)
        found = model(given)[model.output].astype(np.float64).ravel()
        wanted = list(float_model.run(config, tensors, sample).values())[-1].ravel()
        assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.99


class Window(nn.Module):
    """Attention to two tokens on each side."""

    def __init__(self):
        super().__init__()
        at = torch.arange(9)
        self.register_buffer("far", (at[:, None] - at).abs() > 2)
        self.embed, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.attend(x, x, x, attn_mask=self.far)[0].mean(1))


def test_the_core_sparse_keeps_any_mask():
    module, x = Window().eval(), torch.randn(1, 9, 4)
    config, tensors = attn8_host.from_torch(module, x, core="sparse")
    entry = next(entry for entry in config["layers"] if entry["type"] == "attention")
    assert entry["core"] == "sparse" and not entry["causal"]
    seen = np.unpackbits(tensors["attend.core.mask"].reshape(2, 9, 2), axis=2, bitorder="little")
    assert (seen[:, :, :9] == ~module.far.numpy()).all()
    assert differs(config, tensors, evaluated(module), (1, 9, 4)) < 1e-4
    samples = np.random.default_rng(3).normal(size=(20, 9, 4)).astype(np.float32)
    made, integers = quantize_model(config, tensors, samples)
    assert (integers["attend.core.mask"] == tensors["attend.core.mask"]).all()
    found = Model(made, integers)
    found = found(found.feed(samples[0]))
    wanted = float_model.run(config, tensors, samples[0])
    got = found["head"].ravel() * made["layers"][-1]["scale"]
    assert np.abs(got - wanted["head"].ravel()).max() < 0.05


@pytest.mark.parametrize("core", ["flash", "linear", "micro"])
def test_any_core_may_be_chosen(core):
    module, x = CASES["encoder pre gelu"]
    config, tensors = attn8_host.from_torch(module, x, core=core)
    entries = [entry for entry in config["layers"] if entry["type"] == "attention"]
    assert entries and {entry["core"] for entry in entries} == {core}
    shape = config["input"]["shape"]
    samples = np.random.default_rng(3).normal(size=(10, *shape)).astype(np.float32)
    quantize_model(config, tensors, samples)


def test_a_core_that_needs_more_says_so():
    class Causal(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    with pytest.raises(ModelError) as caught:
        attn8_host.from_torch(Causal(), X, core="sliding")
    assert str(caught.value).endswith(
        "attention.options.window: missing; expected a whole number from 1 to 516; import with the "
        "core exact, and give the layers of the float file this core with its options and tensors")
    with pytest.raises(ModelError, match="core decode is causal, which this attention is not; "):
        attn8_host.from_torch(*CASES["encoder pre gelu"], core="decode")


KERAS = {
    "narrow": ["dense", "layer_norm", "attention", "add", "layer_norm", "dense", "gelu", "dense",
               "add", "mean_pool", "dense"],
    "cross": ["conv1d", "cross_attention", "mean_pool", "dense"],
    "causal": ["attention", "dense"],
    "text": ["embedding", "attention", "add", "layer_norm", "dense", "relu", "dense", "add",
             "layer_norm", "mean_pool", "dense"],
}


@pytest.mark.parametrize("name", KERAS)
def test_keras(name):
    """Files of tools/keras_files.py, as tf2onnx writes them."""
    runtime = pytest.importorskip("onnxruntime")
    path = DATA / f"keras_{name}.onnx"
    config, tensors = from_onnx(path)
    assert types(config) == sorted(KERAS[name])
    if name == "narrow":  # onnxruntime does not take Erfc, with which import has checked it
        (entry,) = [each for each in config["layers"] if each["type"] == "attention"]
        assert (entry["num_heads"], entry["key_dim"], entry["value_dim"]) == (2, 2, 2)
        return
    session = runtime.InferenceSession(path)
    (given,) = session.get_inputs()
    rng = np.random.default_rng(7)
    for _ in range(3):
        shape = config["input"]["shape"]
        x = rng.integers(0, 20, shape) if name == "text" else rng.normal(size=shape)
        fed = x[None].astype(np.int32 if name == "text" else np.float32)
        wanted = session.run(None, {given.name: fed})[0]
        found = list(float_model.run(config, tensors, fed[0]).values())[-1]
        assert np.abs(found.ravel() - wanted.ravel()).max() < 1e-4


def test_an_import_changes_neither_module_nor_torch():
    module, x = modules.Encoder(), torch.randn(1, modules.S, 5)
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    attn8_host.from_torch(module, x)
    assert module.training and torch.backends.mha.get_fastpath_enabled()
    assert all((value == before[key]).all() and value.dtype == before[key].dtype
               for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["encoder pre gelu", "encoder post relu", "encoder cls",
                                  "encoder conv", "softmax", "rms", "convolutions", "mixer"])
def test_what_is_imported_can_be_quantized(name):
    module, x = CASES[name]
    config, tensors = attn8_host.from_torch(module, x)
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(40, *config["input"]["shape"])).astype(np.float32)
    made, integers = quantize_model(config, tensors, samples)
    model = Model(made, integers)
    scale = made["input"]["scale"]
    cosines = []
    for sample in samples:
        given = np.clip(np.floor(sample / scale + 0.5), -127, 127).astype(np.int8)
        found = model(given)[model.output].astype(np.float64).ravel()
        wanted = list(float_model.run(config, tensors, sample).values())[-1].ravel()
        cosines.append(found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted))
    assert np.mean(cosines) > 0.99


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)


class Standardized(nn.Module):
    """Takes a sensor's own units."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(6) * 1000)
        self.register_buffer("std", torch.rand(6) * 100 + 1)
        self.embed = nn.Linear(6, 4)

    def forward(self, x):
        return self.embed((x - self.mean) / self.std)


def test_what_standardizes_an_input_is_part_of_the_weights_behind():
    config, tensors = attn8_host.from_torch(Standardized(), torch.zeros(1, 9, 6))
    assert [entry["type"] for entry in config["layers"]] == ["dense"]
    inputs = np.random.default_rng(0).normal(0, 10.0 ** np.arange(6), (20, 9, 6))
    quantized, _ = quantize_model(config, tensors, inputs)  # so each channel has its own scale
    assert len(quantized["input"]["scales"]) == 6


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.head = function, nn.Linear(4, 4)

    def forward(self, x):
        return self.function(self.head(x))


def nan():
    module = nn.Linear(4, 4)
    module.weight.data[1, 2] = float("nan")
    return module


X = torch.ones(1, 6, 4)


@pytest.mark.parametrize(
    "module, example, message",
    [
        (Unused(), X, "unused tensor spare.weight: it reaches no layer of the output; take it out "
                      "of the module"),
        (nan(), X, "weight [4, 4]: holds NaN; train it again"),
        (Function(torch.cumsum), X, "torch.export cannot take Function: "),
        (Function(lambda x: x.cumsum(1)), X, "cumsum [1, 6, 4]: is not recognized as a layer; see "
                                             "docs/import.md for those that are"),
        (Function(lambda x: F.max_pool1d(x, 2, dilation=2)), X,
         "head: linear [1, 6, 4]: max_pool1d has a dilation, or takes no batch; only plain"),
        (Function(lambda x: x @ x.transpose(1, 2)), X,
         "matmul [1, 6, 6]: a product of two values that depend on the input is only known as "
         "softmax(q @ k) @ v"),
        (Function(lambda x: x.flip(1)), X, "flip [1, 6, 4]: takes the values of "),
        (Function(lambda x: torch.cat([x, torch.ones(1, 6, 4)], 2)), X,
         "cat [1, 6, 8]: of constants only tokens can be concatenated"),
        (nn.LSTM(4, 4), X, "lstm [1, 6, 4]: is not recognized as a layer; see docs/import.md for "
                           "those that are. There are 3 outputs: choose one, as output=0"),
        (nn.Linear(4, 4), torch.ones(8, 6, 4), "example: expected a batch of 1 in front, [1, ...], "
                                               "got [8, 6, 4]; give one sample of the batch, as "
                                               "x[:1]"),
        (nn.Linear(4, 4), np.ones((1, 4)), "example: expected a tensor, or a tuple of tensors"),
        (nn.Conv2d(1, 1, 2, dilation=2), torch.ones(1, 1, 4, 4),
         "input [1, 1, 4, 4]: conv2d is a convolution over 2 axes; over one it is known, and over "
         "two without a dilation"),
        (nn.MultiheadAttention(4, 1), (X, X.clone(), X), "example: a model has one input; expected "
                                                         "the same tensor for all 3 arguments"),
        (Function(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.eye(6) > 0)),
         X, "scaled_dot_product_attention [1, 6, 4]: the attention's mask is neither causal nor "
            "empty; take it out, or choose the core sparse, which keeps it"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(module, example, message):
    with pytest.raises(ModelError) as caught:
        attn8_host.from_torch(module, example)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def rewritten(path, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def dynamic(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "frames"


def future(model):
    model.opset_import[0].version = 999


def foreign(model):
    model.graph.node[-1].domain = "com.microsoft"


def unknown(model):
    model.graph.node[-1].op_type = "Nonsense"


def spare(model):
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "spare"))


def poisoned(model):
    bias = next(each for each in model.graph.initializer if each.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), "head.bias"))


def spare_numbers(model):
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(3), "spare"))


def stored(model, name="head.bias"):
    return next(each for each in model.graph.initializer if each.name == name)


def infinite(model):
    values = np.array([0, 1, np.inf, 2], np.float32)
    stored(model).CopyFrom(onnx.numpy_helper.from_array(values, "head.bias"))


def halves(model):
    bias = stored(model, "embed.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(bias.dims, np.float16), "embed.bias"))


def short(model):
    stored(model).raw_data = b"1234"


def strange(model):
    stored(model).data_type = 99


def negative(model):
    stored(model).dims[0] = -3


def without(model):
    del model.graph.initializer[:]


def sparse(model):
    values, at = (onnx.numpy_helper.from_array(np.ones(1, kind), name)
                  for kind, name in ((np.float32, "some"), (np.int64, "at")))
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, at, [4]))


def backwards(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def no_opset(model):
    del model.opset_import[:]


def branches(model):
    taken = onnx.helper.make_graph([], "taken", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], "fork", then_branch=taken,
                                                  else_branch=taken))


def no_batch(model):
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def two_inputs(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("other", 1, [1, 7, 5]))


@pytest.mark.parametrize(
    "change, options, message",
    [
        (spare_numbers, [], "unused tensor spare: it reaches no layer of the output"),
        (infinite, [], "head.bias [4]: holds infinities; train it again"),
        (without, [], ", which no tensor and no node before it gives; export the file again"),
        (backwards, [], ", which no tensor and no node before it gives; export the file again"),
        (halves, [], "model.onnx: cannot be run, as its own operations do not fit each other: "),
        (short, [], "model.onnx: head.bias: cannot be read ("),
        (strange, [], ": its type 99 is unknown; export it as float32"),
        (negative, [], ": cannot be read (its shape is [-3]); export the file again"),
        (sparse, [], "model.onnx: some: sparse tensors are not supported; export it dense"),
        (no_opset, [], "model.onnx: names no opset; export with opset 7 to "),
        (branches, [], "If fork: has graphs of its own, which are not supported; export without "),
        (no_batch, [], ": expected a batch of 1 in front, [1, ...], got [7, 5]; give one sample "),
        (two_inputs, [], "the file has 2 inputs ("),
        (dynamic, [], ": its shape [1, frames, 5] is open; give one, as --shape 1,32,5"),
        (dynamic, ["--shape", "1,7"], ": has shape [1, frames, 5], which is not [1, 7]"),
        (lambda model: None, ["--shape", "2,7,5"], ": has shape [1, 7, 5], which is not [2, 7, 5]"),
        (future, [], ": opset 999 is not supported; export with opset "),
        (foreign, [], ": operations of com.microsoft are not supported; export without them"),
        (unknown, [], "has no such operation on floats that is known; export without it"),
        (spare, [], "unused tensor spare: it reaches no layer of the output; take it out of the "),
        (poisoned, [], "head.bias [4]: holds NaN; train it again"),
        (lambda model: None, ["--graph-output", "x"], "there is no output x; expected one of "),
        (lambda model: None, ["--core", "nosuch"], "nosuch"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, capsys, change, options, message):
    path = export(modules.Encoder(layers=1), torch.randn(1, 7, 5), tmp_path)
    rewritten(path, change)
    target = tmp_path / "model.safetensors"
    assert main(["import", str(path), "--output", str(target), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("attn8: ") and said.count("\n") == 1 and message in said
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.pt", ": not ONNX; make its module in Python, load these weights, and give it to "
                   "attn8_host.from_torch (docs/import.md)\n"),
        ("net.keras", ": not ONNX; make an ONNX file of it with tf2onnx (docs/import.md)\n"),
    ],
)
def test_files_of_others_are_refused_with_the_way_to_go(tmp_path, capsys, name, message):
    (tmp_path / name).write_bytes(b"PK")
    target = tmp_path / "model.safetensors"
    assert main(["import", str(tmp_path / name), "--output", str(target)]) == 2
    assert capsys.readouterr().err.endswith(name + message) and not target.exists()


def test_an_input_without_a_shape(tmp_path, capsys):
    path = export(modules.Encoder(layers=1), torch.randn(1, 7, 5), tmp_path)
    rewritten(path, lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"))
    target = tmp_path / "model.safetensors"
    given = ["import", str(path), "--output", str(target)]
    assert main(given) == 2 and not target.exists()
    said = capsys.readouterr().err
    assert said.endswith(": its shape is open; give one, as --shape 1,32,6\n")
    assert main([*given, "--shape", "1,7,5"]) == 0
    assert main(["quantize", str(path), "--calibration", str(path), "--output", str(target)]) == 2
    assert capsys.readouterr().err.endswith("; attn8 import makes one of it\n")


def test_files_that_are_none(tmp_path, capsys):
    target = str(tmp_path / "model.safetensors")
    assert main(["import", str(tmp_path / "none.onnx"), "--output", target]) == 2
    assert capsys.readouterr().err.endswith("none.onnx: no such file\n")
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 99)
    assert main(["import", str(tmp_path / "bad.onnx"), "--output", target]) == 2
    assert "bad.onnx: not an ONNX file that can be read (" in capsys.readouterr().err


def test_missing_external_data(tmp_path, capsys):
    path = export(modules.Encoder(layers=1), torch.randn(1, 7, 5), tmp_path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin",
              size_threshold=0)
    target = tmp_path / "model.safetensors"
    assert main(["import", str(path), "--output", str(target)]) == 0
    target.unlink()
    weights = tmp_path / "weights.bin"
    content = weights.read_bytes()
    for change, message in (
        (lambda: weights.write_bytes(content[:100]), "; copy it again, or export the file again"),
        (lambda: weights.write_bytes(b""), " of weights.bin, which has 0; copy it again, "),
        (weights.unlink, ": its external data are missing; put weights.bin beside the file"),
        (weights.mkdir, ": its external data are missing; put weights.bin beside the file"),
        (lambda: moved(path, "../weights.bin"), " in ../weights.bin, outside of the file's folder"),
    ):
        change()
        assert main(["import", str(path), "--output", str(target)]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1 and "model.onnx: " in said
        assert sorted(each.name for each in tmp_path.iterdir() if each != weights) == ["model.onnx"]


def moved(path, location):
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for each in tensor.external_data:
            if each.key == "location":
                each.value = location
    onnx.save(model, path)


def test_an_open_shape_that_is_given(tmp_path, capsys):
    path = export(modules.Convolutions(), torch.randn(1, 3, 31), tmp_path,
                  dynamic_axes={"x": {0: "batch", 2: "frames"}}, input_names=["x"])
    target = tmp_path / "model.safetensors"
    assert main(["import", str(path), "--output", str(target), "--shape", "1,3,25"]) == 0
    config, _ = modelfile.read(target)
    assert config["input"]["shape"] == [3, 25] and config["name"] == "model"
    assert "It computes what" in capsys.readouterr().out


def test_importing_the_package_imports_no_torch():
    code = "import sys, attn8_host; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
