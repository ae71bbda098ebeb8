"""Every attention core that trains: a model that has it is trained, and runs in int8 again.

Gradients are held to finite differences, PyTorch and the board in test_train_layers.py.
"""

from typing import Any

import numpy as np
import pytest

from attn8_host import cores
from attn8_host.masks import build
from attn8_host.model import load
from attn8_host.paths import DEVICE
from attn8_host.train import arithmetic as formats
from attn8_host.train import tune
from tests.test_train_tune import LAYERS, samples, write

CORES: dict[str, dict[str, Any]] = {
    "exact": {"core": "exact", "options": {"precise": True, "block_rows": 2}},
    "exact16": {"core": "exact16", "activation_bits": 16, "options": {"block_rows": 2}},
    "flash": {"core": "flash", "options": {"block_size": 3}, "causal": True},
    "linear": {"core": "linear", "causal": True, "options": {"phi": "elu+1"}},
    "linear, relu+1": {"core": "linear", "options": {"block_rows": 2}},
    "sparse": {"core": "sparse", "options": {"mask": ["local_window", 1], "block_rows": 1}},
    "local_global": {"core": "local_global", "options": {"window": 1, "global_indices": [0, 2]}},
}


@pytest.mark.parametrize("entry", CORES.values(), ids=CORES)
def test_what_trains_is_int8_again(tmp_path, board, entry):
    """Every step is NumPy's, and so is every inference of the int8 model that comes of it."""
    model, made = tmp_path / "gestures.safetensors", tmp_path / "tuned.safetensors"
    write(model, [*LAYERS[:2], {**LAYERS[2], **entry}, *LAYERS[3:]])
    base = load(model)
    x, labels = samples()
    found = tune.tune(board, model, base, (base.feed(x).reshape(len(x), -1), labels), made,
                      "last:2", epochs=3, batch=8)
    assert found.bit_exact and found.layers == ["attn", "head"]
    assert found.history[-1].loss < found.history[0].loss
    tuned = load(made)
    attention = tuned.config["layers"][2]
    for key in ("core", "options", "causal"):
        assert attention[key] == base.config["layers"][2][key]
    assert attention["constants"].keys() == base.config["layers"][2]["constants"].keys()
    assert attention["constants"] != base.config["layers"][2]["constants"]
    changed = {name for name, values in tuned.tensors.items()
               if (values != base.tensors[name]).any()}
    assert {"attn.q.weight", "attn.v.weight", "head.weight"} <= changed
    assert ("attn.core.gate" in changed) == (attention["core"] == "local_global")
    fed = tuned.feed(x).reshape(len(x), -1)
    right = [tuned(each)["head"].argmax() == label for each, label in zip(fed, labels, strict=True)]
    assert np.mean(right) > 0.6


def test_masks_of_a_file_train(tmp_path):
    """Bits, a mask a head, become a field of the training file."""
    given = [build(4, "local_window", 1), build(4, "block_diagonal", 2)]
    kind = cores.get("sparse")
    constants, parameters = kind.retrained({}, {}, {"mask": np.stack(
        [mask.to_bits().ravel() for mask in given])})
    core = kind.trainable(formats.get("float64"), "attn", 2, 3, **constants)
    for head, mask in enumerate(given):
        assert (core.seen(head, 4) == mask.dense).all()
    assert not parameters


def test_a_gate_of_int8_stands_for_a_sigmoid():
    """Of the least and the largest, too, to a quarter of a step."""
    gate = np.array([0, 1, 12345, 32767, 32768], np.uint16)
    _, found = cores.get("local_global").retrained({}, {}, {"gate": gate})
    assert np.abs(32768 / (1 + np.exp(-found["gate"])) - gate).max() < 0.2501


def test_every_core_is_among_them():
    on_board = {path.stem for path in (DEVICE / "attn8/train/cores").glob("[!_]*.py")}
    assert on_board == {entry["core"] for entry in CORES.values()}
    assert on_board == {name for name, core in cores.all_cores().items() if core.trainable}
