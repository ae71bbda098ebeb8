"""Softmax, embedding and concat: bounds, machine code of both chips, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host import float_model, modelfile
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError, RemoteError
from attn8_host.layers.embedding import Embedding
from attn8_host.layers.mean_pool import MeanOfLength, length_constants
from attn8_host.layers.softmax import ONE, Softmax, softmax_constants
from attn8_host.model import Model, load
from attn8_host.numerics import floating
from attn8_host.numerics.integers import EXP2
from attn8_host.proof.compare import verify
from attn8_host.quantize.file import quantize_file
from attn8_host.quantize.model import quantize_model

from .test_kernels import Call, alignment, fills, int8, machine_settings, sizes
from .test_stream_kernels import formats, int16, most

WIDTHS = {"int8": 0, "int16": 1, "int32": 2}
TABLE = EXP2.astype(np.uint16)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("scale", [1e-5, 6e-4, 0.03, 0.3, 3.0, 22.0, 1000.0])
def test_probabilities_are_those_of_floats(scale):
    """To 4 steps of 2**-15, and half a one for each numerator's rounding at most."""
    rng = np.random.default_rng(0)
    span = min(1 << 29, int(20 / scale) + 2)
    layer = Softmax(**softmax_constants(scale))
    for columns in (1, 2, 10, 100):
        x = rng.integers(-span, span, (200, columns))
        x[:, -1:] = x[:, :1] + rng.integers(-2, 3, (200, 1))
        x[0], x[1, 0] = 5, (1 << 30) - 1
        got = layer(x)
        assert got.dtype == np.uint16
        assert np.abs(got - floating.softmax(x * scale) * ONE).max() <= 4 + columns / 2
        assert (got[0] == (2 * ONE // columns + 1) // 2).all() and got[1, 0] == ONE


@machine_settings
@given(
    seed=seeds, rows=st.integers(1, 3), columns=sizes, offset=alignment, fill=fills,
    takes=st.sampled_from([*WIDTHS]), scale=st.floats(2**-20, 2**10),
)
def test_softmax_as_machine_code(machines, seed, rows, columns, offset, fill, takes, scale):
    rng = np.random.default_rng(seed)
    if takes == "int8":
        x = int8(rng, fill, rows, columns)
    elif takes == "int16":
        x = int16(rng, fill, rows, columns)
    else:
        x = rng.integers(-(1 << 30) + 1, 1 << 30, (rows, columns)).astype(np.int32)
        x[:, 1::2] = x[:, :1] - rng.integers(0, int(20 / scale) + 1)  # near the largest
        x = np.maximum(x, -(1 << 30) + 1)
    c = softmax_constants(scale)
    call = Call(machines("softmax"), offset)
    _, _, out, *_ = call("softmax", x, 0, np.zeros((rows, columns), np.uint16), TABLE, rows,
                         columns, WIDTHS[takes], c["mult"], c["shift"], c["limit"])
    assert (out.read(np.uint16) == Softmax(**c)(x).ravel()).all()


@machine_settings
@given(seed=seeds, n=st.integers(1, 9), size=sizes, rows=st.sampled_from([1, 2, 300, 1 << 15]),
       offset=alignment)
def test_embedding_as_machine_code(machines, seed, n, size, rows, offset):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-3, rows + 3, n).clip(-32768, 32767).astype(np.int16)
    wrong = np.flatnonzero((ids < 0) | (ids >= rows))
    machine = machines("embedding")
    assert machine.call("beyond", machine.buffer(ids), n, rows) == (wrong[0] if wrong.size else n)
    ids = rng.integers(0, min(rows, 300), n).astype(np.int16)
    table = int8(rng, "random", min(rows, 300), size)
    _, _, out, *_ = Call(machine, offset)("embedding", ids, table, np.zeros((n, size), np.int8), n,
                                          size)
    assert (out.read(np.int8) == Embedding(table)(ids).ravel()).all()


@machine_settings
@given(seed=seeds, rows=st.integers(1, 5), n=sizes, m=sizes, offset=alignment)
def test_concat_as_machine_code(machines, seed, rows, n, m, offset):
    rng = np.random.default_rng(seed)
    a, b = int8(rng, "random", rows, n), int8(rng, "random", rows, m)
    _, _, out, *_ = Call(machines("concat"), offset)(
        "concat", a, b, np.zeros((rows, n + m), np.int8), rows, n, m)
    assert (out.read(np.int8) == np.hstack([a, b]).ravel()).all()


@machine_settings
@given(seed=seeds, rows=st.integers(1, 5), columns=sizes, offset=alignment, fill=fills,
       takes=formats, gives=formats, ratio=st.floats(2**-10, 2**10))
def test_mean_as_machine_code(machines, seed, rows, columns, offset, fill, takes, gives, ratio):
    rng = np.random.default_rng(seed)
    x = (int16 if takes == "int16" else int8)(rng, fill, rows, columns)
    made = length_constants(ratio, rows)
    call = Call(machines("mean"), offset)
    _, _, out, *_ = call("mean", x, 0, np.zeros(columns, gives), rows, columns,
                         int(made["mult"][-1]), int(made["shift"][-1]), int(takes == "int16"),
                         most(gives))
    assert (out.read(np.dtype(gives)) == MeanOfLength(**made, format=gives)(x, rows)).all()


VOCAB, N, WIDTH = 50, 6, 8


def classifier():
    """(config, tensors, ids) of a float model from token ids to probabilities."""
    rng = np.random.default_rng(3)
    layers = [
        {"type": "embedding", "name": "words", "seq_len": N, "vocab_size": VOCAB,
         "embed_dim": WIDTH},
        {"type": "embedding", "name": "kinds", "inputs": ["input"], "seq_len": N,
         "vocab_size": VOCAB, "embed_dim": WIDTH},
        {"type": "concat", "name": "both", "inputs": ["words", "kinds"], "rows": N},
        {"type": "concat", "name": "twice", "inputs": ["both", "both"], "rows": 1},
        {"type": "mean_pool", "name": "pool", "seq_len": 2 * N, "embed_dim": 2 * WIDTH},
        {"type": "dense", "name": "head", "in_features": 2 * WIDTH, "out_features": 5},
        {"type": "softmax", "name": "p", "rows": 1, "columns": 5},
    ]
    config = {"format": "attn8", "version": 1, "name": "words", "layers": layers,
              "input": {"shape": [N], "format": "tokens"}}
    tensors = {
        "words.weight": rng.normal(size=(VOCAB, WIDTH)), "kinds.weight": rng.normal(
            size=(VOCAB, WIDTH)),
        "head.weight": 3 * rng.normal(size=(5, 2 * WIDTH)), "head.bias": rng.normal(size=5),
    }
    return config, tensors, rng.integers(0, VOCAB, (20, N))


def test_from_token_ids_to_probabilities(board, remote, tmp_path):
    config, tensors, ids = classifier()
    modelfile.write(tmp_path / "float.safetensors", config, tensors)
    np.save(tmp_path / "ids.npy", ids)
    paths = [str(tmp_path / name) for name in ("float.safetensors", "ids.npy", "int8.safetensors")]
    assert main(["quantize", paths[0], "--calibration", paths[1], "--output", paths[2]]) == 0
    made, integers = modelfile.read(tmp_path / "int8.safetensors")
    assert made["input"] == {"shape": [N], "format": "tokens"}
    assert made["layers"][-2]["output"] == "int16"  # a softmax wants more than 8 bits
    model = Model(made, integers)
    ids = ids.astype(np.int16)
    for one in ids:
        got = model(one)["p"] / ONE
        want = float_model.run(config, tensors, one)["p"]
        assert np.abs(got - want).max() <= 0.04 and abs(got.sum() - 1) <= 5 / ONE
    board.enter_repl()
    push(board, "/models/words.safetensors", (tmp_path / "int8.safetensors").read_bytes())
    with board.serve() as client:
        client.load("/models/words.safetensors")
        assert verify(client, model, ids).bit_exact
        with pytest.raises(RemoteError, match="words: token 2: expected 0 to 49, got 50"):
            client.infer(np.array([0, 49, 50, -1, 3, 3], np.int16))
        with pytest.raises(RemoteError, match="words: token 0: expected 0 to 49, got -1"):
            client.infer(np.array([-1, 0, 0, 0, 0, 0], np.int16))
        with pytest.raises(ValueError, match="expected 6 int16"):
            client.infer(np.zeros(N, np.int8))
    with pytest.raises(ValueError, match="words: token 2: expected 0 to 49, got 50"):
        model(np.array([0, 49, 50, 1, 3, 3], np.int16))
    assert remote.needs_no_heap("model(x)", """
from attn8 import load
model = load("/models/words.safetensors")
x = array("h", bytes(12))
""")


def moved(name, **fields):
    def change(config, tensors):
        next(e for e in config["layers"] if e["name"] == name).update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c["input"].update(scale=1.0), "input."),
        (lambda c, t: c["input"].pop("format"), "words: takes tokens, the layer before gives int8"),
        (lambda c, t: c["layers"].append({"type": "relu", "name": "r"}),
         "r: takes int8, the layer before gives uint16; leave a softmax to the last layer"),
        (moved("both", rows=5), "both: takes"),
        (moved("words", vocab_size=VOCAB + 1), "words.weight: expected"),
        (moved("p", columns=4), "p: takes 4 values, the layer before gives 5"),
        (lambda c, t: c["layers"][-1].pop("limit"), "p: the config lacks limit"),
    ],
)
def test_wrong_files_are_refused_on_both_sides(board, change, message):
    made, integers = quantize_model(*classifier())
    change(made, integers)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(made)
        Model(made, integers)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    push(board, "/models/words.safetensors", modelfile.pack(made, integers))
    with board.serve() as client, pytest.raises(RemoteError) as refused:
        client.load("/models/words.safetensors")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["input"].pop("format"),
         'words: takes tokens, input gives int8; embedding takes tokens, of an input with '
         '"format": "tokens"'),
        (lambda c: c["layers"].insert(0, {"type": "relu", "name": "r"}),
         'r: takes int8, input gives tokens; embedding takes tokens, of an input with "format": '
         '"tokens"'),
        (lambda c: c["layers"].append({"type": "relu", "name": "r"}),
         "r: takes int8, p gives uint16; leave a softmax to the last layer"),
        (lambda c: c["layers"][0].update(vocab_size=40), "words: token"),
    ],
)
def test_what_cannot_be_quantized(change, message):
    config, tensors, ids = classifier()
    change(config)
    tensors["words.weight"] = tensors["words.weight"][: config["layers"][0].get("vocab_size")]
    with pytest.raises(ModelError) as refused:
        quantize_model(config, tensors, ids)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Softmax(1, 32768, 1, 1, 0)", "softmax.columns: expected 1 to 32767, got 32768"),
        ("Softmax(1, 2, 0, 1, 0)", "softmax.mult: expected 1 to 1073741823, got 0"),
        ("Softmax(1, 2, 1 << 29, 14, 16)", "softmax.limit: expected 0 to 3, got 16"),
        ("Softmax(1, 2, 1, 1, 0, 'uint16')",
         "softmax.format: expected int8, int16 or int32, got uint16"),
        ("Softmax(1, 2, 1, 1, 0)(bytes(3))", "softmax: expected 2 int8 values, got 3"),
        ("Embedding(2, 3, 1, bytes(3))(array('h', [2, 3]))",
         "embedding: token 1: expected 0 to 2, got 3"),
        ("Embedding(2, 3, 1, bytes(3))(array('h', [-32768, 0]))",
         "embedding: token 0: expected 0 to 2, got -32768"),
        ("Embedding(2, 3, 1, bytes(4))", "embedding.weight: expected 3 int8 values, got 4"),
        ("Embedding(2, 32769, 1, bytes(3))",
         "embedding.vocab_size: expected 1 to 32768, got 32769"),
        ("Concat(2, 1, 1)(array('h', bytes(4)), array('h', bytes(6)))",
         "concat: expected 2 values, got 3"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(remote, code, message):
    setup = "from array import array\nfrom attn8 import Concat, Embedding, Softmax"
    assert remote.refused(code, setup) == message


@pytest.mark.board("virtual")
def test_run_shows_probabilities(tmp_path, capsys):
    config, tensors, ids = classifier()
    modelfile.write(tmp_path / "model.safetensors", *quantize_model(config, tensors, ids))
    np.save(tmp_path / "ids.npy", ids)
    paths = [str(tmp_path / name) for name in ("model.safetensors", "ids.npy")]
    assert main(["plan", "--model", paths[0]]) == 0
    assert main(["run", *paths, "--board", "virtual"]) == 0
    assert "probability of the answer" in capsys.readouterr().out


def test_a_concat_of_more_becomes_layers_of_two(board, tmp_path):
    rng = np.random.default_rng(4)
    layers = [{"type": "dense", "name": name, "rows": 5, "in_features": 3, "out_features": n,
               "inputs": ["input"]} for name, n in zip("abcd", (2, 4, 1, 3), strict=True)]
    layers += [{"type": "concat", "name": "all", "rows": 5, "inputs": ["a", "b", "c", "d"]},
               {"type": "concat", "name": "twice", "rows": 1, "inputs": ["all", "all", "all"]}]
    tensors = {f"{each['name']}.weight": rng.normal(size=(each["out_features"], 3))
               for each in layers[:4]}
    tensors |= {f"{name}.bias": rng.normal(size=len(tensors[f"{name}.weight"])) for name in "abcd"}
    config = {"format": "attn8", "version": 1, "name": "m", "input": {"shape": [5, 3]},
              "layers": layers}
    x = rng.normal(size=(20, 5, 3)).astype(np.float32)
    found = float_model.run(config, tensors, x[0])
    assert (found["all"] == np.hstack([found[name] for name in "abcd"])).all()
    assert (found["twice"].ravel() == np.tile(found["all"].ravel(), 3)).all()
    modelfile.write(tmp_path / "float", config, tensors)
    np.save(tmp_path / "x.npy", x)
    made = quantize_file(tmp_path / "float", tmp_path / "x.npy", tmp_path / "int8")
    assert [row.name for row in made.layers] == [*"abcd", "all", "twice"]
    model = load(tmp_path / "int8")
    wanted = found["twice"].ravel()
    got = model(model.feed(x[0]).ravel())["twice"].ravel() * model.config["layers"][-1]["scale"]
    assert np.abs(got - wanted).max() <= 0.02 * np.abs(wanted).max()
    push(board, "/models/all.safetensors", (tmp_path / "int8").read_bytes())
    with board.serve() as client:
        client.load("/models/all.safetensors")
        assert verify(client, model, model.feed(x).reshape(20, 15)).bit_exact
    model.config["layers"][-1]["inputs"] *= 2
    with pytest.raises(ModelError, match=r"twice\.inputs: integers have 2, got 4; attn8 "):
        Model(model.config, model.tensors)
    config["layers"][-1]["inputs"] = ["all"]
    with pytest.raises(ModelError, match=r"twice\.inputs: expected 2 or more, got 1"):
        modelfile.check_config(config)
