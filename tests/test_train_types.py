"""`attn8 train` of models with layers of all types, from a float file to an int8 one."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from attn8_host import layers, modelfile
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import load
from attn8_host.quantize.model import quantize_model
from attn8_host.train import tune
from attn8_host.train.fitting import fit
from attn8_host.train.session import pack
from tests.test_train_tune import CLASSES, TOKENS

VOCABULARY, WIDTH, SAMPLES = 10, 8, 40
EMBEDDING = {"type": "embedding", "name": "words", "seq_len": TOKENS, "vocab_size": VOCABULARY,
             "embed_dim": WIDTH}
POOL = {"type": "mean_pool", "name": "pool", "seq_len": TOKENS, "embed_dim": WIDTH}
HEAD = {"type": "dense", "name": "head", "in_features": WIDTH, "out_features": CLASSES,
        "output": "int32"}
CONV = {"type": "conv1d", "length": TOKENS, "channels": WIDTH, "kernel_size": 3, "stride": 1,
        "filters": WIDTH}


@dataclass
class Case:
    """A model of token ids, and which of its layers train with `--layers all`.

    lengths: whether the input has them.
    rate: with which it learns.
    """

    layers: list
    trained: list
    lengths: bool = False
    rate: float = 0.1

    def floats(self):
        """The config and the tensors of a float model of random weights."""
        rng = np.random.default_rng(2)
        config = {"format": "attn8", "version": 1, "name": "words", "layers": self.layers,
                  "input": {"shape": [TOKENS], "format": "tokens", "lengths": self.lengths}}
        return config, {
            f"{entry['name']}.{part}": rng.normal(
                0, tensor.shape[-1] ** -0.5, tensor.shape).astype(np.float32)
            for entry in self.layers
            for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()
            if tensor.owner is None}

    def samples(self):
        """Each class has three words of its own."""
        rng = np.random.default_rng(8)
        labels = np.arange(SAMPLES) % CLASSES
        ids = labels[:, None] + CLASSES * rng.integers(0, 3, (SAMPLES, TOKENS))
        found = {"inputs": ids, "labels": labels}
        if self.lengths:
            found["lengths"] = rng.integers(2, TOKENS + 1, SAMPLES).tolist()
        return found


CASES = {
    "embedding": Case([EMBEDDING, POOL, HEAD], ["head", "words"]),
    "a stream, with lengths": Case(
        [EMBEDDING, {"type": "position", "name": "position", "seq_len": TOKENS, "embed_dim": WIDTH},
         {**POOL, "lengths": True}, HEAD], ["head", "position", "words"], lengths=True),
    "tied_head": Case(
        [{**EMBEDDING, "tied": True}, {"type": "select", "name": "last", "seq_len": TOKENS,
                                       "embed_dim": WIDTH, "index": -1},
         {"type": "tied_head", "name": "head", "in_features": WIDTH, "embedding": "words",
          "out_features": VOCABULARY}], ["words"], rate=0.02),
    "cross_attention, concat of three": Case(
        [EMBEDDING, *(
            {"type": "slice", "name": name, "seq_len": TOKENS, "embed_dim": WIDTH, "start": i,
             "rows": 1, "inputs": ["words"]} for i, name in enumerate("abc")),
         {"type": "concat", "name": "queries", "rows": 1, "inputs": ["a", "b", "c"]},
         {"type": "dense", "name": "memory", "rows": TOKENS, "in_features": WIDTH,
          "out_features": 6, "inputs": ["words"]},
         {"type": "cross_attention", "name": "attn", "seq_len": 3, "embed_dim": WIDTH,
          "num_heads": 2, "key_len": TOKENS, "memory_dim": 6, "core": "exact", "causal": False,
          "inputs": ["queries", "memory"]},
         {**HEAD, "in_features": 3 * WIDTH}], ["attn", "head", "memory", "words"], rate=0.02),
    "convolutions, softmax": Case(
        [EMBEDDING, {**CONV, "name": "depthwise", "padding": 2, "dilation": 2, "groups": WIDTH},
         {"type": "relu", "name": "relu"}, {**CONV, "name": "dilated", "padding": 4, "dilation": 3},
         {"type": "transpose", "name": "turned", "rows": TOKENS + 2, "columns": WIDTH},
         {**HEAD, "in_features": WIDTH * (TOKENS + 2)},
         {"type": "softmax", "name": "y", "rows": 1, "columns": CLASSES}],
        ["depthwise", "dilated", "head", "words"]),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(scope="module")
def port():
    virtual = VirtualBoard()
    yield virtual.port
    virtual.stop()


@each_case
def test_a_float_file_trains_and_comes_back_in_int8(tmp_path, capsys, port, case):
    modelfile.write(tmp_path / "floats", *case.floats())
    np.savez(tmp_path / "data.npz", **case.samples())
    results = tmp_path / "train.json"
    assert main(["train", str(tmp_path / "floats"), str(tmp_path / "data.npz"), "--epochs", "2",
                 "--layers", "all", "--batch", "4", "--lr", str(case.rate), "--output",
                 str(tmp_path / "made"), "--png", str(tmp_path / "x.png"), "--json", str(results),
                 "--board", port]) == 0
    outcome = json.loads(results.read_text())
    assert outcome["bit_exact"] is True and outcome["layers"] == case.trained
    assert outcome["history"][1]["loss"] < outcome["history"][0]["loss"]
    assert outcome["accuracy_after"] >= outcome["accuracy_before"]
    tuned = load(tmp_path / "made")
    samples = case.samples()
    config, tensors = quantize_model(*case.floats(), samples["inputs"], samples.get("lengths"))
    assert [entry["type"] for entry in tuned.config["layers"]] == [
        entry["type"] for entry in config["layers"]]
    changed = {name for name in tensors if (tensors[name] != tuned.tensors[name]).any()}
    if case.rate < 0.1:  # rows are where they were
        words, before = (each["words.weight"].astype(int) for each in (tuned.tensors, tensors))
        assert np.abs(words - before).mean() < np.abs(before).max() / 8
    assert set(case.trained) <= {name.split(".")[0] for name in changed}


@each_case
def test_int8_stands_for_the_floats_that_it_was_made_of(tmp_path, case):
    """Within half a step of the largest weight."""
    config, tensors = case.floats()
    samples = case.samples()
    modelfile.write(tmp_path / "int8", *quantize_model(config, tensors, samples["inputs"],
                                                       samples.get("lengths")))
    _, found, _ = tune.training(load(tmp_path / "int8"), "all", "/models/a")
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        error = np.abs(found[name] - values).max()
        assert error <= 0.502 * np.abs(values).max() / 127 + 1e-4 or name.endswith("bias"), name
        assert error < 0.02 * max(1, np.abs(values).max()), name


def test_a_head_does_not_train_without_its_embedding(tmp_path):
    case = CASES["tied_head"]
    modelfile.write(tmp_path / "int8", *quantize_model(*case.floats(), case.samples()["inputs"]))
    with pytest.raises(ModelError, match="head: it has the weight of words, which does not train; "
                                         "give --layers last:2"):
        tune.training(load(tmp_path / "int8"), "head", "/models/a")


def test_ids_of_no_row_are_refused(tmp_path, capsys):
    case = CASES["embedding"]
    modelfile.write(tmp_path / "floats", *case.floats())
    samples = case.samples()
    samples["inputs"][3, 1] = VOCABULARY
    np.savez(tmp_path / "data.npz", **samples)
    int8 = tmp_path / "int8"
    modelfile.write(int8, *quantize_model(*case.floats(), case.samples()["inputs"]))
    assert main(["train", str(int8), str(tmp_path / "data.npz"), "--output",
                 str(tmp_path / "made"), "--board", "/dev/nosuch"]) == 2
    assert capsys.readouterr().err.startswith(
        f"attn8: {tmp_path / 'data.npz'}: words: expected token ids from 0 to 9, got 10 "
        "in sample 3")


FIT = """
from attn8 import train
from attn8.train.samples import Samples
kept = Samples("/models/ids", 4, "h")
kept.clear()
for i in range(len(labels)):
    kept.append(x[4 * i : 4 * i + 4], labels[i])
give(train.fit(path, kept, epochs=2))
"""


def test_a_board_alone_learns_of_ids_as_numpy_does(remote, tmp_path):
    case = CASES["embedding"]
    samples = case.samples()
    path, target, training = tmp_path / "int8", "/models/ids_int8", "/models/ids_train"
    modelfile.write(path, *quantize_model(*case.floats(), samples["inputs"]))
    base = load(path)
    config, tensors, _ = tune.prepare(base, "all", target, 4, "sgd", 0.1)
    push(remote.board, target, path.read_bytes())
    push(remote.board, training, pack(config, tensors))
    ids, labels = samples["inputs"].astype(np.int16), samples["labels"]
    wanted = fit(config, tensors, (ids, labels), epochs=2)
    best, history = remote(FIT, path=training, x=ids.ravel(), labels=labels.astype(np.int32))
    assert (best, history) == (wanted.best, wanted.history) and best
    made = tmp_path / "made"
    made.write_bytes(remote.board.read_file(target))
    learned = load(made).tensors["words.weight"]
    assert (learned != base.tensors["words.weight"]).any()
