"""Inputs with fewer tokens than there is room for: what heeds a length, on both sides."""

import numpy as np
import pytest

from attn8_host import float_model, modelfile
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError, RemoteError
from attn8_host.model import Model
from attn8_host.numerics.scales import quantize
from attn8_host.proof.compare import verify
from attn8_host.quantize.file import quantize_file
from attn8_host.quantize.model import quantize_model

N, E = 12, 8


def classifier(front="none", end="mean_pool", causal=False, n=N):
    """(config, tensors) of a float model; front: what changes the number of tokens."""
    rng = np.random.default_rng(5)
    layers, tensors = [], {}

    def matrix(name, outputs, *inputs):
        tensors[f"{name}.weight"] = rng.normal(0, np.prod(inputs) ** -0.5, (outputs, *inputs))
        tensors[f"{name}.bias"] = rng.normal(0, 0.3, outputs)

    tokens = n
    matrix("embed", E, 3)
    layers.append({"type": "dense", "name": "embed", "rows": n, "in_features": 3,
                   "out_features": E})
    if front == "conv1d":
        matrix("conv", E, 3, E)
        layers.append({"type": "conv1d", "name": "conv", "length": n, "kernel_size": 3,
                       "stride": 2, "filters": E, "channels": E, "padding": 1})
        tokens = (n - 1) // 2 + 1
    if front == "class_token":
        tensors["token.weight"] = rng.normal(size=E)
        layers.append({"type": "class_token", "name": "token", "seq_len": n, "embed_dim": E})
        tokens = n + 1
    before = layers[-1]["name"]
    for part in ("q", "k", "v", "out"):
        matrix(f"attn.{part}", E, E)
    layers += [
        {"type": "attention", "name": "attn", "seq_len": tokens, "embed_dim": E, "num_heads": 2,
         "core": "exact", "causal": causal, "lengths": True},
        {"type": "add", "name": "sum", "inputs": [before, "attn"]},
        {"type": end, "name": "pool", "seq_len": tokens, "embed_dim": E, "lengths": True},
        {"type": "dense", "name": "head", "in_features": E, "out_features": 4, "output": "int32"},
    ]
    if end == "select":
        layers[-2]["index"] = -1
    matrix("head", 4, E)
    config = {"format": "attn8", "version": 1, "name": "m", "layers": layers,
              "input": {"shape": [n, 3], "lengths": True}}
    return config, tensors


def samples():
    rng = np.random.default_rng(6)
    return rng.normal(size=(24, N, 3)), [*range(1, N + 1)] * 2


CASES = [("none", "mean_pool"), ("none", "select"), ("class_token", "mean_pool"),
         ("class_token", "select"), ("conv1d", "mean_pool"), ("conv1d", "select")]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("front", "end"), CASES)
def test_a_length_is_as_a_shorter_input(front, end, causal):
    config, tensors = classifier(front, end, causal)
    inputs, lengths = samples()
    for x, n in zip(inputs, lengths, strict=True):
        padded = x.copy()
        padded[n:] = 0  # as a convolution pads
        if front == "conv1d":  # and its bias alone is what padding embeds to
            tensors = {**tensors, "embed.bias": np.zeros(E)}
        short = float_model.run({**classifier(front, end, causal, n)[0]}, tensors, x[:n])["head"]
        got = float_model.run(config, tensors, padded, n)["head"]
        np.testing.assert_allclose(got, short, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("front", "end"), CASES[:4])
def test_what_lies_behind_a_length_does_not_count(front, end):
    config, tensors = classifier(front, end)
    inputs, lengths = samples()
    model = Model(*quantize_model(config, tensors, inputs, lengths))
    x = quantize(inputs, model.config["input"]["scale"])
    for one, n in zip(x, lengths, strict=True):
        other = one.copy()
        other[n:] = 127
        assert (model(one, n)["head"] == model(other, n)["head"]).all()
    assert (model(x[0])["head"] == model(x[0], N)["head"]).all()
    assert (model(x[1], 2)["head"] != model(x[1])["head"]).any()


@pytest.mark.parametrize(("front", "end"), CASES)
def test_a_board_heeds_lengths(board, remote, front, end):
    config, tensors = classifier(front, end)
    inputs, lengths = samples()
    made, integers = quantize_model(config, tensors, inputs, lengths)
    model = Model(made, integers)
    x = quantize(inputs, made["input"]["scale"])
    scale = made["layers"][-1]["scale"]
    for one, real, n in zip(x, inputs, lengths, strict=True):
        want = float_model.run(config, tensors, real, n)["head"]
        assert np.abs(model(one, n)["head"].ravel() * scale - want.ravel()).max() <= 0.15
    push(board, "/models/lengths.safetensors", modelfile.pack(made, integers))
    with board.serve() as client:
        client.load("/models/lengths.safetensors")
        assert verify(client, model, x, lengths=lengths).bit_exact
        assert verify(client, model, x[:2]).bit_exact  # the full length, after another
        for n in (0, N + 1):
            with pytest.raises(RemoteError, match=f"length: expected 1 to {N}, got {n}"):
                client.infer(x[0], length=n)
            with pytest.raises(ValueError, match=f"length: expected 1 to {N}, got {n}"):
                model(x[0], n)
    assert remote.needs_no_heap("model(x, 5)\nmodel(x, 3)", f"""
from attn8 import load
model = load("/models/lengths.safetensors")
x = array("b", bytes({3 * N}))
""")


def decoder():
    """(config, tensors) of a float model: three queries of a memory that has a length."""
    config, tensors = classifier()
    rng = np.random.default_rng(9)
    embed, attn, add, pool, head = config["layers"]
    for part in ("q", "k", "v", "out"):
        tensors[f"cross.{part}.weight"] = rng.normal(0, E**-0.5, (E, E))
        tensors[f"cross.{part}.bias"] = rng.normal(0, 0.3, E)
    queries = {"type": "slice", "name": "queries", "seq_len": N, "embed_dim": E, "start": 0,
               "rows": 3}
    cross = {"type": "cross_attention", "name": "cross", "seq_len": 3, "key_len": N, "embed_dim": E,
             "memory_dim": E, "num_heads": 2, "core": "exact", "causal": False, "lengths": True,
             "inputs": ["queries", "sum"]}
    del pool["lengths"]
    pool["seq_len"] = 3
    return {**config, "layers": [embed, attn, add, queries, cross, pool, head]}, tensors


def test_a_memory_has_a_length(board, remote):
    config, tensors = decoder()
    inputs, lengths = samples()
    made, integers = quantize_model(config, tensors, inputs, lengths)
    model = Model(made, integers)
    x = quantize(inputs, made["input"]["scale"])
    scale = made["layers"][-1]["scale"]
    for one, real, n in zip(x, inputs, lengths, strict=True):
        want = float_model.run(config, tensors, real, n)["head"]
        assert np.abs(model(one, n)["head"].ravel() * scale - want.ravel()).max() <= 0.15
        if n >= 3:  # the queries are of the first three tokens
            other = one.copy()
            other[n:] = 127
            assert (model(one, n)["head"] == model(other, n)["head"]).all()
    assert (model(x[4], 5)["head"] != model(x[4])["head"]).any()
    push(board, "/models/lengths.safetensors", modelfile.pack(made, integers))
    with board.serve() as client:
        client.load("/models/lengths.safetensors")
        assert verify(client, model, x, lengths=lengths).bit_exact
        assert verify(client, model, x[:2]).bit_exact
    assert remote.needs_no_heap("model(x, 5)\nmodel(x, 3)", f"""
from attn8 import load
model = load("/models/lengths.safetensors")
x = array("b", bytes({3 * N}))
""")
    del made["input"]["lengths"]
    for entry in made["layers"]:
        if entry["name"] != "cross":
            entry.pop("lengths", None)
    with pytest.raises(ModelError, match=r"cross\.lengths: no length comes to it"):
        Model(made, integers)
    push(board, "/models/lengths.safetensors", modelfile.pack(made, integers))
    with board.serve() as client, pytest.raises(RemoteError, match=r"cross\.lengths: no length"):
        client.load("/models/lengths.safetensors")


def test_a_batch_is_one_input_after_another(board, remote):
    made, integers = quantize_model(*classifier(), *samples())
    model = Model(made, integers)
    inputs, lengths = samples()
    x = quantize(inputs, made["input"]["scale"])[:5]
    want = model.batch(x, lengths[:5])
    for i, row in enumerate(want):
        assert (row == model(x[i], lengths[i])["head"].ravel()).all()
    assert (model.batch(x)[0] == model(x[0])["head"].ravel()).all()
    push(board, "/models/lengths.safetensors", modelfile.pack(made, integers))
    setup = ("from attn8 import load\nfrom array import array\n"
             "model = load('/models/lengths.safetensors')\nout = array('i', bytes(80))\n")
    got, plain, free = remote(
        setup + "give(model.batch(x, out, lengths))\ngive(model.batch(x, out))\n"
        "def run(): model.batch(x, out, lengths)\n" + remote.LOCKED,
        x=x.ravel(), lengths=np.array(lengths[:5], np.int16),
    )
    assert (got == want.ravel()).all() and (plain == model.batch(x).ravel()).all() and free == 0
    for code, message in (
        ("model.batch(bytes(35), out)", "x: expected 36 int8 values, got 35"),
        ("model.batch(bytes(72), out)", "out: expected 8 values, got 20"),
        ("model.batch(bytes(72), bytearray(32))", "out: expected array('i'), got bytearray of 'B'"),
        ("model.batch(bytes(180), out, [1, 2])", "lengths: expected 5 to 5, got 2"),
        ("model.batch(bytes(180), out, [1, 2, 3, 4, 13])", "length: expected 1 to 12, got 13"),
    ):
        assert remote.refused(code, setup) == message
    with pytest.raises(ValueError, match="shorter"):
        model.batch(x, [1])


def attention(config):
    return next(entry for entry in config["layers"] if entry["name"] == "attn")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["input"].pop("lengths"), "attn.lengths: no length comes to it"),
        (lambda c: c["input"].update(lengths=1), "input.lengths: expected true or false"),
        (lambda c: c["input"].update(shape=[3, N]), "attn.lengths: no length comes to it"),
        (lambda c: c["layers"].insert(0, {"type": "transpose", "name": "t", "rows": N,
                                          "columns": 3}), "attn.lengths: no length comes to it"),
    ],
)
def test_lengths_that_reach_nothing_are_refused_on_both_sides(board, change, message):
    made, integers = quantize_model(*classifier(end="select"), *samples())
    del made["arena"]  # its places would be those of other layers
    change(made)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(made)
        Model(made, integers)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    push(board, "/models/lengths.safetensors", modelfile.pack(made, integers))
    with board.serve() as client, pytest.raises(RemoteError) as refused:
        client.load("/models/lengths.safetensors")
    assert message in str(refused.value)


def test_a_model_without_lengths_refuses_one(board, remote):
    board.enter_repl()
    said = remote.refused("model(x, 3)", "from attn8 import load\n"
                          "model = load('/models/digits.safetensors')\nx = array('b', bytes(64))")
    assert said == 'length: the model takes none; its config says no "lengths"'


@pytest.mark.board("virtual")
def test_the_commands_take_lengths(tmp_path, capsys):
    config, tensors = classifier()
    inputs, lengths = samples()
    modelfile.write(tmp_path / "float", config, tensors)
    np.save(tmp_path / "x.npy", inputs)
    np.save(tmp_path / "n.npy", lengths)
    np.save(tmp_path / "wrong.npy", np.array(lengths) + 1)
    np.save(tmp_path / "few.npy", lengths[1:])
    one, two, x, n = (str(tmp_path / name) for name in ("float", "int8", "x.npy", "n.npy"))
    assert main(["quantize", one, "--calibration", x, "--lengths", n, "--output", two]) == 0
    assert main(["run", two, x, "--lengths", n, "--board", "virtual"]) == 0
    for name, message in (("wrong.npy", "expected lengths of 1 to 12, got 13"),
                          ("few.npy", "expected whole numbers [24], got int64 [23]")):
        capsys.readouterr()
        assert main(["run", two, x, "--lengths", str(tmp_path / name), "--board", "virtual"]) == 2
        assert message in capsys.readouterr().err


def garbage(inputs, lengths, value=1e4):
    """The same, with values behind the lengths that are no sensor's."""
    made = inputs.copy()
    for x, n in zip(made, lengths, strict=True):
        x[n:] = value
    return made


@pytest.mark.parametrize("calibrate", ["best", "absmax", "percentile", "least-error"])
@pytest.mark.parametrize(("front", "end"), CASES[:4])
def test_calibration_counts_nothing_behind_a_length(tmp_path, front, end, calibrate):
    config, tensors = classifier(front, end)
    modelfile.write(tmp_path / "float", config, tensors)
    inputs, lengths = samples()
    np.save(tmp_path / "lengths.npy", lengths)
    made = []
    for name, values in (("a", inputs), ("b", garbage(inputs, lengths))):
        np.save(tmp_path / "inputs.npy", values)
        found = quantize_file(tmp_path / "float", tmp_path / "inputs.npy", tmp_path / name,
                              lengths=tmp_path / "lengths.npy", calibrate=calibrate)
        made.append((found, (tmp_path / name).read_bytes()))
    assert made[0] == made[1] and not made[0][0].warnings


def test_what_reads_beyond_a_length_is_calibrated_with_all_of_it():
    inputs, lengths = samples()
    for change in (lambda c: c["layers"][1].pop("lengths"),  # attention sees padding
                   lambda c: c["layers"][3].pop("lengths")):  # the mean does
        config, tensors = classifier()
        change(config)
        scales = [quantize_model(config, tensors, x, lengths)[0]["input"]["scale"]
                  for x in (inputs, garbage(inputs, lengths, 40))]
        assert scales[1] > 5 * scales[0]
    config, tensors = classifier(causal=True)
    config["layers"][1].pop("lengths")  # no query sees what is behind it
    assert (quantize_model(config, tensors, inputs, lengths)[0]
            == quantize_model(config, tensors, garbage(inputs, lengths), lengths)[0])
