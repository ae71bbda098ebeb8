"""A residual stream whose layers have outgrown its scale in training: the board gives it another,
or clips them where frozen layers are of the same stream."""

from typing import Any

import numpy as np
import pytest

from attn8_host import layers, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.deploy import deploy, push
from attn8_host.errors import RemoteError
from attn8_host.model import Model as Integers
from attn8_host.proof.compare import Verification
from attn8_host.quantize.model import quantize_model
from attn8_host.train import tune
from attn8_host.train.model import Model
from attn8_host.train.session import pack, to_words
from tests.compiled import compiled
from tests.conftest import Remote

TOKENS, WIDTH, CLASSES = 8, 6, 3
INT8, TRAINING = "/models/streams.safetensors", "/models/streams_train.safetensors"
SHAPE = {"seq_len": TOKENS, "embed_dim": WIDTH}
LAYERS: list[dict[str, Any]] = [
    {"type": "conv1d", "name": "conv", "length": TOKENS, "channels": 3, "kernel_size": 1,
     "stride": 1, "filters": WIDTH},
    {"type": "conv1d", "name": "depth", "length": TOKENS, "channels": WIDTH, "groups": WIDTH,
     "kernel_size": 3, "stride": 1, "dilation": 2, "padding": 2, "filters": WIDTH},
    {"type": "layer_norm", "name": "norm", "features": WIDTH, "eps": 0.01},
    {"type": "attention", "name": "attn", "num_heads": 2, "core": "exact", "causal": False,
     **SHAPE},
    {"type": "add", "name": "sum", "inputs": ["depth", "attn"]},
    {"type": "mean_pool", "name": "pool", **SHAPE},
    {"type": "dense", "name": "head", "in_features": WIDTH, "out_features": CLASSES,
     "output": "int32"},
]  # fmt: skip
REQUANTIZE = compiled("""
from attn8 import train

trainer = train.load(path)
trainer.calibrate()
for i in range(0, len(x), trainer.model.input_size):
    trainer.model(x[i : i + trainer.model.input_size])
give([(name, why.partition(",")[0]) for name, why in sorted(trainer.quantize().items())])
""")
SHARED = ("it has outgrown the int16 scale that it has together with layers that do not train")
LARGE = "its weight has grown beyond what any scale of its int16 expresses"


@pytest.fixture(scope="module")
def remote(roomy):
    return roomy


def quantized(entries=LAYERS):
    """An int8 model of random weights, and its inputs in int8."""
    rng = np.random.default_rng(4)
    config = {"format": "attn8", "version": 1, "name": "streams", "layers": entries,
              "input": {"shape": [TOKENS, 3]}}
    floats = {f"{entry['name']}.{part}": rng.normal(0, 0.5, tensor.shape)
              for entry in entries
              for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()
              if tensor.needed}
    x = rng.normal(0, 2, (12, TOKENS, 3))
    model = Integers(*quantize_model(config, floats, x), False)
    return model, model.feed(x).reshape(len(x), -1)


def requantized(remote, tmp_path, base, x, which, grown):
    """The int8 model that a board makes of weights that are `grown` so many times, what it says of
    layers, and the training model in float64."""
    config, tensors, _ = tune.prepare(base, which, INT8, 1, "sgd")
    for name, times in grown.items():
        tensors[name] = tensors[name] * times
    front = base if config["layers"][0]["type"] == "front" else None
    model = Model(config, tensors, "float64", base=front)
    push(remote.board, INT8, modelfile.pack(base.config, base.tensors))
    push(remote.board, TRAINING, pack(config, tensors))
    words = to_words(config, Model(config, tensors, base=front).f, front)
    clipped = remote(REQUANTIZE, path=TRAINING,
                     x=np.concatenate([words(each) for each in x]).astype(np.int32))
    made = tmp_path / "made.safetensors"
    made.write_bytes(remote.board.read_file(INT8))
    return Integers(*modelfile.read(made), False), clipped, model


def scales(model):
    return {entry["name"]: entry["scale"] for entry in model.config["layers"] if "scale" in entry}


def errors(made, which, model):
    """Of its int8 weights, in their own steps."""
    found = tune.training(made, which, INT8)[1]
    for p in model.params:
        if p.name.endswith("weight") and not p.name.startswith("norm"):
            rows = len(made.tensors[p.name])
            values = p.value.reshape(rows, -1)
            step = np.abs(values).max(axis=1, keepdims=True) / 127
            yield p.name, np.abs((found[p.name].reshape(rows, -1) - values) / step).max(axis=1)


GROWN = {"depth.weight": 5, "attn.out.weight": 9}


def test_a_stream_that_trains_gets_the_scale_that_it_needs(remote, tmp_path):
    """All its layers the same one; nothing is clipped, and the rest is rounding."""
    base, x = quantized()
    made, clipped, model = requantized(remote, tmp_path, base, x, "all", GROWN)
    before, after = scales(base), scales(made)
    assert clipped == []
    assert before["depth"] == before["attn"] == before["sum"]
    assert after["depth"] == after["attn"] == after["sum"] > 2 * before["sum"]
    for name, error in errors(made, "all", model):
        assert (error <= 0.51).all(), name
    wanted = np.array([model(each.astype(np.int64) * tune.NORMAL) for each in x])
    found = np.array([made(each)["head"] * after["head"] for each in x])
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_a_stream_of_frozen_layers_keeps_its_scale(remote, tmp_path):
    """What does not fit is clipped, by name; what fits is not."""
    base, x = quantized()
    made, clipped, model = requantized(remote, tmp_path, base, x, "last:3",
                                       {"attn.out.weight": 40})
    assert clipped == [("attn", SHARED), ("sum", SHARED)]
    assert scales(made)["sum"] == scales(base)["sum"]
    named = tune.beyond({p.name: p.value for p in model.params},
                        tune.training(made, "last:3", INT8)[1],
                        Verification(outputs=[made(each) for each in x]), made, 2)
    assert named == (["attn.out"], [])
    ends = Verification(outputs=[{"sum": np.array([-32767, 5], np.int16), "x": x[0]}])
    assert tune.beyond({}, {}, ends, made, 2) == (["sum"], [])
    found = dict(errors(made, "last:3", model))
    assert (found.pop("attn.out.weight") > 1).any()
    assert all((error <= 0.51).all() for error in found.values())


def test_a_board_alone_says_what_it_clips(remote):
    """In a line, and the model is there."""
    base, x = quantized()
    config, tensors, _ = tune.prepare(base, "last:3", INT8, 1, "sgd", 0.0001)
    tensors["attn.out.weight"] = tensors["attn.out.weight"] * 40
    push(remote.board, INT8, modelfile.pack(base.config, base.tensors))
    push(remote.board, TRAINING, pack(config, tensors))
    said = remote.board.execute(f"""
from array import array
from attn8 import train
values = {x.tolist()}
samples = [(array("b", values[i]), i % 3) for i in range(12)]
train.fit({TRAINING!r}, samples, epochs=1, validation=0)
""").splitlines()
    for name in ("attn", "sum"):
        assert (f"fit: {name}: it has outgrown the int16 scale that it has together with layers "
                "that do not train, and is clipped; let more layers train") in said
    assert remote.board.read_file(INT8) != modelfile.pack(base.config, base.tensors)


EMBED: dict[str, Any] = {"type": "dense", "name": "embed", "rows": TOKENS, "in_features": 3,
                         "out_features": WIDTH}
MIX: dict[str, Any] = {**EMBED, "name": "mix", "in_features": WIDTH}
SUM: list[dict[str, Any]] = [EMBED, MIX, {"type": "add", "name": "sum", "inputs": ["embed", "mix"]}]
ONE: dict[str, Any] = {"type": "slice", "name": "one", "rows": 1, "start": 2, **SHAPE}
BEHIND: dict[str, list[dict[str, Any]]] = {
    "relu": [*SUM, {"type": "relu", "name": "relu"}, ONE],
    "max_pool": [*SUM, {"type": "max_pool", "name": "most", "length": TOKENS, "channels": WIDTH,
                        "kernel_size": TOKENS, "stride": 1, "positions": 1}],
    "select": [*SUM, {"type": "select", "name": "last", "index": -1, **SHAPE}],
    "slice": [*SUM, ONE],
    "transpose": [*SUM, ONE, {"type": "transpose", "name": "swap", "rows": 1, "columns": WIDTH}],
    "unfold": [*SUM, ONE, {"type": "unfold", "name": "window", "height": 1, "width": 1,
                           "channels": WIDTH, "kernel_size": [1, 1], "stride": [1, 1],
                           "positions": [1, 1], "padding": [0, 0]}],
    "reshape": [*SUM, {"type": "reshape", "name": "same", "shape": [TOKENS, WIDTH]}, ONE,
                {"type": "reshape", "name": "flat", "shape": [WIDTH]}],
    "silu": [EMBED, {"type": "silu", "name": "silu"},
             {"type": "position", "name": "position", **SHAPE}, ONE],
    "multiply": [EMBED, MIX, {"type": "sigmoid", "name": "gate"}, {
        "type": "multiply", "name": "product", "inputs": ["gate", "embed"]}, {
        "type": "position", "name": "position", **SHAPE}, ONE],
}


@pytest.mark.parametrize("grown", [1, 5])
@pytest.mark.parametrize("kind", BEHIND)
def test_what_a_stream_gives_gets_the_range_that_it_has(remote, tmp_path, kind, grown):
    """As int8, behind a layer that only hands it on; and a product has a scale that it can have."""
    base, x = quantized([*BEHIND[kind], LAYERS[-1]])
    made, clipped, model = requantized(remote, tmp_path, base, x, "all", {"embed.weight": grown})
    assert clipped == []
    wanted = np.array([model(each.astype(np.int64) * tune.NORMAL) for each in x])
    found = np.array([made(each)["head"] * scales(made)["head"] for each in x])
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


KEPT: dict[str, list[dict[str, Any]]] = {
    "multiply": [EMBED, LAYERS[2], MIX, {"type": "sigmoid", "name": "gate"}, {
        "type": "multiply", "name": "branch", "inputs": ["gate", "mix"]}, {
        "type": "add", "name": "sum", "inputs": ["embed", "branch"]}, LAYERS[-2]],
    "mean_pool": [EMBED, {**ONE, "name": "first"}, LAYERS[2], {**MIX, "rows": 1},
                  {"type": "reshape", "name": "row", "shape": [1, WIDTH]},
                  {"type": "mean_pool", "name": "branch", "seq_len": 1, "embed_dim": WIDTH},
                  {"type": "add", "name": "sum", "inputs": ["first", "branch"]}],
    "convert": [EMBED, LAYERS[2], MIX, {"type": "silu", "name": "branch"}, {
        "type": "add", "name": "sum", "inputs": ["embed", "branch"]}, LAYERS[-2]],
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_kept_scale_has_no_constants_for_is_refused(remote, tmp_path, kind):
    """Values that are all too small are not clipped ones; the model stays as it was."""
    base, x = quantized([*KEPT[kind], LAYERS[-1]])
    found = {entry["name"]: entry for entry in base.config["layers"]}
    name = "branch" if "mult" in found["branch"] else "branch.int16"
    assert found[name]["scale"] == scales(base)["embed"]
    with pytest.raises(RemoteError, match=f"{name}: it has outgrown an int16 scale that has to "
                       "stay; let more layers train, or give a lower learning rate"):
        requantized(remote, tmp_path, base, x, "last:3", {"mix.weight": 300})
    assert remote.board.read_file(INT8) == modelfile.pack(base.config, base.tensors)


WIDE = 160  # so many inputs that sums of int16 are narrowed by a bit
MANY: list[dict[str, Any]] = [
    {"type": "dense", "name": "embed", "in_features": 4, "out_features": WIDE},
    {"type": "dense", "name": "mid", "in_features": WIDE, "out_features": WIDE},
    {"type": "add", "name": "sum", "inputs": ["embed", "mid"]},
    {"type": "dense", "name": "head", "in_features": WIDE, "out_features": CLASSES,
     "output": "int32"},
]
FEW = [MANY[0], {**MANY[1], "out_features": 4}, {**MANY[3], "in_features": 4}]


def cancelling(entries, weight):
    """A model whose `mid` sums up differences of what is almost equal; in int16, and its inputs."""
    rng = np.random.default_rng(4)
    config = {"format": "attn8", "version": 1, "name": "many", "layers": entries,
              "input": {"shape": [4]}}
    floats = {f"{entry['name']}.{part}": rng.normal(0, 1, tensor.shape) * (part == "weight")
              for entry in entries
              for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()}
    half = len(floats["embed.weight"]) // 2
    floats["embed.weight"][half:] = 0.999 * floats["embed.weight"][:half]
    floats["mid.weight"][:] = np.repeat([weight, -weight], half)
    x = rng.normal(0, 2, (12, 4))
    model = Integers(*quantize_model(config, floats, x, activation_bits=16), False)
    return model, model.feed(x).reshape(len(x), -1)


def test_results_are_no_finer_than_narrowed_sums_can_express():
    """In floats, too: what int16 is narrowed by counts."""
    model, _ = cancelling(FEW, 1.0)
    found = scales(model)
    assert found["mid"] == pytest.approx(found["embed"] * 2 * 2 / 127, rel=1e-3)
    assert (model.tensors["mid.shift"] == 16).all()


def test_a_stream_gets_a_scale_that_narrowed_sums_can_express(remote, tmp_path):
    base, x = cancelling(FEW, 1.0)
    made, clipped, model = requantized(remote, tmp_path, base, x, "all", {"mid.weight": 50})
    before, after = scales(base), scales(made)
    assert clipped == [] and after["embed"] == before["embed"]
    assert after["mid"] == pytest.approx(50 * before["mid"], rel=0.01)
    assert all((error <= 0.51).all() for _, error in errors(made, "all", model))


@pytest.mark.parametrize("which", ["all", "last:2"])
def test_what_no_scale_of_a_stream_expresses_is_clipped(tmp_path, which):
    """A layer that takes the stream which it adds to: a coarser scale of both is no help."""
    base, x = cancelling(MANY, 1.0)
    with open_virtual(heap_size="4M") as board:
        deploy(board)
        made, clipped, model = requantized(Remote(board), tmp_path, base, x, which,
                                           {"mid.weight": 100})
    assert clipped == [("mid", LARGE)] and scales(made)["sum"] == scales(base)["sum"]
    named = tune.beyond({p.name: p.value for p in model.params},
                        tune.training(made, which, INT8)[1], Verification(outputs=[]), made,
                        0 if which == "all" else 1)
    assert named == ([], ["mid"])
    found = dict(errors(made, which, model))
    assert (found.pop("mid.weight") > 1).all()
    assert all((error <= 0.51).all() for error in found.values())


def test_streams_that_ask_for_coarser_ones_in_turn_are_clipped(remote, tmp_path):
    """Two large products one behind the other, whose result is added to what the first took."""
    wide = {"in_features": 8, "out_features": 8}
    entries = [{**MANY[0], "out_features": 8}, {**MANY[1], **wide}, {**MANY[1], **wide,
               "name": "last"}, {**MANY[2], "inputs": ["embed", "last"]},
               {**MANY[3], "in_features": 8}]
    base, x = cancelling(entries, 1.0)
    made, clipped, model = requantized(remote, tmp_path, base, x, "all",
                                       {"mid.weight": 100, "last.weight": 100})
    assert {("mid", LARGE), ("last", LARGE)} <= set(clipped)
    assert scales(made)["sum"] == scales(base)["sum"]
    found = dict(errors(made, "all", model))
    assert (found.pop("mid.weight") > 1).all()
    assert (found["embed.weight"] <= 0.51).all() and (found["head.weight"] <= 0.51).all()
