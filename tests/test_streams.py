"""Which tensors the quantizer makes int16, with which scales, and what it and a board refuse."""

import numpy as np
import pytest

from attn8_host import float_model, modelfile
from attn8_host.deploy import push
from attn8_host.errors import ModelError, RemoteError
from attn8_host.model import Model
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

N = 6


def dense(name, inputs=None, **fields):
    entry = {"type": "dense", "name": name, "in_features": N, "out_features": N, **fields}
    return {**entry, "inputs": inputs} if inputs else entry


def add(name, a, b):
    return {"type": "add", "name": name, "inputs": [a, b]}


def norm(name, **fields):
    return {"type": "layer_norm", "name": name, "features": N, "eps": 1e-5, **fields}


def relu(name):
    return {"type": "relu", "name": name}


def config_of(*entries, size=N):
    return {"format": "attn8", "version": 1, "name": "m", "input": {"shape": [size]},
            "layers": list(entries)}


def made(*entries, size=N, gain=1.0):
    """(config, tensors, inputs) of a float model with random weights."""
    rng = np.random.default_rng(0)
    tensors = {}
    for entry in entries:
        name = entry["name"]
        if entry["type"] == "dense":
            tensors[f"{name}.weight"] = rng.normal(0, gain, (entry["out_features"],
                                                             entry["in_features"]))
            if entry.get("bias", True):
                tensors[f"{name}.bias"] = rng.normal(size=entry["out_features"])
        elif entry["type"] == "layer_norm":
            tensors |= {f"{name}.weight": rng.normal(1, 0.2, N), f"{name}.bias": rng.normal(size=N)}
        elif entry["type"] == "position":
            tensors[f"{name}.weight"] = rng.normal(size=(entry["seq_len"], entry["embed_dim"]))
        elif entry["type"] == "class_token":
            tensors[f"{name}.weight"] = rng.normal(size=entry["embed_dim"])
    return config_of(*entries, size=size), tensors, rng.normal(size=(30, size))


def formats(config):
    """Of each layer its results' format, or None where its entry says none."""
    return [(entry["name"], entry.get("output", entry.get("format"))) for entry in config["layers"]]


GRAPHS = {
    "a sum of the input": (
        [dense("a"), add("s", "a", "input")],
        [("input.int16", "int16"), ("a", "int16"), ("s", None)],
    ),
    "a sum that goes on to a product": (
        [dense("a"), dense("b"), add("s", "a", "b"), dense("c")],
        [("a", "int16"), ("a.int8", "int8"), ("b", "int16"), ("s", None), ("s.int8", "int8"),
         ("c", None)],
    ),
    "a sum of what a ReLU cuts": (
        [dense("a"), relu("r"), dense("b"), add("s", "r", "b")],
        [("a", "int16"), ("r", None), ("r.int8", "int8"), ("b", "int16"), ("s", None)],
    ),
    "a sum of what is int8 only": (
        [dense("a"), {"type": "sigmoid", "name": "r"}, dense("b"), add("s", "r", "b"),
         dense("c", output="int32")],
        [("a", None), ("r", None), ("r.int16", "int16"), ("b", "int16"), ("s", None),
         ("s.int8", "int8"), ("c", "int32")],
    ),
    "a norm alone": (
        [dense("a"), norm("n"), dense("b")],
        [("a", "int16"), ("n", None), ("b", None)],
    ),
    "a norm of the input, taken twice": (
        [norm("n"), dense("a"), add("s", "n", "a")],
        [("input.int16", "int16"), ("n", "int16"), ("n.int8", "int8"), ("a", "int16"),
         ("s", None)],
    ),
    "a reshape that is taken as both": (
        [{"type": "reshape", "name": "t", "shape": [N]}, dense("a"), add("s", "t", "a")],
        [("t", None), ("t.int16", "int16"), ("a", "int16"), ("s", None)],
    ),
    "one token of a stream": (
        [{"type": "class_token", "name": "t", "seq_len": 2, "embed_dim": N},
         {"type": "select", "name": "s", "seq_len": 3, "embed_dim": N, "index": -1}, dense("a")],
        [("input.int16", "int16"), ("t", None), ("s", None), ("s.int8", "int8"), ("a", None)],
    ),
    "a transposed stream": (
        [{"type": "position", "name": "p", "seq_len": 2, "embed_dim": N},
         {"type": "transpose", "name": "t", "rows": 2, "columns": N},
         {"type": "mean_pool", "name": "m", "seq_len": N, "embed_dim": 2}],
        [("input.int16", "int16"), ("p", None), ("t", None), ("m", None)],
    ),
    "no stream": (
        [dense("a"), relu("r"), {"type": "sigmoid", "name": "g"},
         {"type": "multiply", "name": "p", "inputs": ["r", "g"]}, dense("b")],
        [("a", None), ("r", None), ("g", None), ("p", None), ("b", None)],
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_formats_scales_and_bits(board, graph):
    entries, expected = GRAPHS[graph]
    size = 2 * N if entries[0]["type"] in ("class_token", "position") else N
    config, tensors, inputs = made(*entries, size=size)
    int8_config, int8_tensors = quantize_model(config, tensors, inputs)
    assert formats(int8_config) == expected
    model = Model(int8_config, int8_tensors)
    scales = {entry["name"]: entry.get("scale") for entry in int8_config["layers"]}
    last = config["layers"][-1]["name"]
    x = model.feed(inputs)
    want = np.array([float_model.run(config, tensors, sample)[last].ravel() for sample in inputs])
    got = np.array([model(sample)[last].ravel() * scales[last] for sample in x])
    assert np.abs(got - want).max() <= 0.04 * np.abs(want).max()
    for entry in int8_config["layers"]:
        if entry["type"] == "add":
            assert len({scales[name] for name in (entry["name"], *entry["inputs"])}) == 1
    board.enter_repl()
    push(board, "/models/streams.safetensors", modelfile.pack(int8_config, int8_tensors))
    with board.serve() as client:
        client.load("/models/streams.safetensors")
        assert verify(client, model, x[:5]).bit_exact


def test_a_stream_is_no_finer_than_its_layers_can_express():
    # A product of large weights that cancel: its sums are coarser than the stream would be
    config, tensors, inputs = made(dense("a"), dense("b"), add("s", "a", "b"))
    tensors["a.weight"] = np.zeros((N, N))
    tensors["a.weight"][:, 0] = 1.0
    tensors["b.weight"] = np.full((N, N), 1e-3)
    tensors["b.weight"][0, :2] = 40, -40
    tensors["a.bias"][:] = tensors["b.bias"][:] = 0.1
    int8_config, int8_tensors = quantize_model(config, tensors, inputs)
    scales = {entry["name"]: entry["scale"] for entry in int8_config["layers"]}
    peak = max(np.abs(float_model.run(config, tensors, x)["s"]).max() for x in inputs)
    assert scales["a"] == scales["b"] == scales["s"] > 10 * peak / 16383
    assert Model(int8_config, int8_tensors)(np.zeros(N, np.int8))["s"].dtype == np.int16


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([dense("a", output="int32"), dense("b", ["input"]), add("s", "a", "b")],
         'a: leave "output": "int32" to the last layer'),
        ([dense("input.int16"), dense("b", ["input"]), add("s", "b", "input")],
         "input.int16: this name is that of input in int16; take another"),
        ([dense("a"), {"type": "add", "name": "s"}], "s.inputs: expected 2, got 1"),
        ([dense("a"), dense("b", out_features=3), add("s", "a", "b")], "s: "),
        ([{"type": "mean_pool", "name": "m", "seq_len": 1, "embed_dim": N},
          add("s", "m", "input"), {"type": "mean_pool", "name": "k", "seq_len": 1, "embed_dim": N},
          add("t", "k", "s")],
         "no scale of its int16 tensors is one that all of their layers can express"),
    ],
)
def test_graphs_that_cannot_be_quantized(entries, message):
    config, tensors, inputs = made(*entries)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config)
        quantize_model(config, tensors, inputs)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c["layers"][1].update(inputs=["a"]), "s.inputs: expected 2, got 1"),
        (lambda c, t: c["layers"][0].update(output="int8"),
         "s: takes int16, the layer before gives int8; put a convert layer between"),
        (lambda c, t: c["layers"][2].update(features=4), "n: takes"),
        (lambda c, t: c["layers"][2].pop("eps_shift"), "n: the config lacks eps_shift"),
        (lambda c, t: c["layers"][2].pop("eps"), "n: the config lacks eps"),
        (lambda c, t: c["layers"][2].update(output="int32"), "n.output: expected int8 or int16"),
        (lambda c, t: t.pop("n.bias"), "missing tensor n.bias"),
        (lambda c, t: t.update({"g.table": np.zeros(255, np.int8)}), "g.table: expected"),
        (lambda c, t: c["layers"][4].update(approximate="erf"),
         "g.approximate: expected none or tanh"),
        (lambda c, t: c["layers"][0].update(bias=False), "bias"),
        (lambda c, t: c["layers"][5].update(index=1), "z.index: expected -1 to 0, got 1"),
        (lambda c, t: c["layers"][6].update(format="int8"), "takes int16"),
    ],
)
def test_wrong_files_are_refused_on_both_sides(board, change, message):
    entries = [
        dense("a"), add("s", "a", "a"), norm("n"), dense("b"),
        {"type": "gelu", "name": "g", "approximate": "none"},
        {"type": "select", "name": "z", "seq_len": 1, "embed_dim": N, "index": 0},
    ]
    config, tensors = quantize_model(*made(*entries))
    config["layers"].append({"type": "convert", "name": "w", "format": "int16", "mult": 20000,
                             "shift": 20})
    del config["arena"]  # its places would be those of other layers
    Model(config, tensors)
    change(config, tensors)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config)
        Model(config, tensors)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    push(board, "/models/streams.safetensors", modelfile.pack(config, tensors))
    with board.serve() as client, pytest.raises(RemoteError) as refused:
        client.load("/models/streams.safetensors")
    assert message.partition("; ")[0] in str(refused.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Add(4)(h, array('h', bytes(6)))", "add: expected 4 values, got 3"),
        ("Add(4)(h, 'abcd')", "add: expected array('h'), got str"),
        ("Select(2, 2, 2)", "select.index: expected -2 to 1, got 2"),
        ("Position(2, 2, h)(bytearray(8))", "position: expected array('h'), got bytearray of 'B'"),
        ("ClassToken(1, 3, h)", "class_token.weight: expected 3 values, got 4"),
        ("Multiply(4, 1, 20)", "multiply.mult: expected 16384 to 32767, got 1"),
        ("Multiply(4, 16384, 20, 'int32')", "multiply.output: expected int8 or int16, got int32"),
        ("MeanPool(1 << 15, 1, 16384, 20, 'int16')",
         "mean_pool.seq_len: expected 1 to 32767, got 32768"),
        ("LayerNorm(1, i, array('i', [1 << 30] * 4), 0, 0, 0)",
         "layer_norm.bias: expected -1073741823 to 1073741823, got 1073741824"),
        ("LayerNorm(1, i, i, 31, 0, 0)", "layer_norm.shift: expected 0 to 30, got 31"),
        ("LayerNorm(1, i, i, 0, 0, 39)", "layer_norm.eps_shift: expected 0 to 38, got 39"),
        ("RMSNorm(1, array('i', bytes(18000)), i, 0, 0, 0)",
         "rms_norm.features: expected 1 to 4095, got 4500"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(remote, code, message):
    setup = (
        "from array import array\n"
        "from attn8 import Add, ClassToken, LayerNorm, MeanPool, Multiply, Position, RMSNorm\n"
        "from attn8 import Select\n"
        "h, i = array('h', bytes(8)), array('i', bytes(16))"
    )
    assert remote.refused(code, setup) == message
