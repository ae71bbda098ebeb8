"""`attn8 train digits`: fine-tuning and quantizing on the board, and power cuts meanwhile."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn8_host import modelfile
from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import deploy, push
from attn8_host.link import protocol
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.train import session as train
from attn8_host.train.session import digits_config, pack
from tests.compiled import compiled
from tests.test_train_model import ADAM, MEASURE, parameters

# How often the power fails: ATTN8_POWER_CUTS=100 is thorough
CUTS = int(os.environ.get("ATTN8_POWER_CUTS", "10"))
MODEL, TRAINING = "/models/tuned.safetensors", "/models/tune.safetensors"

PREPARE = f"""
from attn8.train import load
trainer = load({TRAINING!r})
trainer._words[0] = 3
trainer._words[1] = 1
for i in range(64):
    trainer._words[2 + i] = i
trainer()
weight = trainer.model.params[-2].value
made = trainer.model.layers, trainer.model.f, trainer.ranges.end()
del trainer
from attn8.train.requantize import Requantizer
requantizer = Requantizer(*made, {MODEL!r})
del made
def write(change):
    weight[0] += change << 14
    requantizer.write()
write(0)
"""
FOR_EVER = "print('started')\nwhile True:\n    write(1)\n    write(-1)\n"


def test_the_board_learns_what_changed(tmp_path):
    json_file = tmp_path / "digits.json"
    arguments = ["train", "digits", "--board", "virtual", "--epochs", "1"]
    assert main([*arguments, "--json", str(json_file)]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["bit_exact"] is True
    assert outcome["overflows"] == 0 and outcome["overflows_grow"] is False
    assert outcome["device_us_per_step"] > 0
    assert outcome["accuracy_after"] > outcome["accuracy_before"]
    assert outcome["shifted_after"] > outcome["shifted_before"]


def test_a_run_that_saturates_says_so(tmp_path, monkeypatch, capsys):
    usual = train.digits_config

    def steep(*arguments):
        config = usual(*arguments)
        config.pop("clip_norm")
        config["optimizer"] = ADAM  # where gradients count up to sqrt(2)
        return config

    monkeypatch.setattr(train, "digits_config", steep)
    json_file = tmp_path / "digits.json"
    arguments = ["train", "digits", "--board", "virtual", "--epochs", "1"]
    assert main([*arguments, "--json", str(json_file)]) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["overflows"] == outcome["history"][-1]["overflows"] > 0
    assert outcome["overflows_grow"] is True
    assert outcome["bit_exact"] is True
    assert "still in the last epoch" in capsys.readouterr().out


@pytest.fixture
def tuning(tmp_path):
    """A virtual board with a training file and the int8 model that it writes."""
    base = load(MODELS / "digits.safetensors")
    _, tensors = modelfile.read(MODELS / "digits_float.safetensors")
    tensors = {n: t.astype(float) for n, t in tensors.items() if not n.startswith("embed.")}
    # What takes about 105 KB on a 32-bit board; here objects are twice as large
    virtual = VirtualBoard(root=tmp_path, heap_size="165K")
    with Board(virtual.port, kind="virtual", close=virtual.stop) as board:
        deploy(board)
        push(board, MODEL, (MODELS / "digits.safetensors").read_bytes())
        push(board, TRAINING, pack(digits_config(base, MODEL, 9, 2), tensors))
        board.enter_repl()
        yield virtual, board, tmp_path / MODEL[1:]


def test_the_board_quantizes_as_the_host_would(tuning):
    _, board, path = tuning
    board.execute(compiled(PREPARE))
    stored = load_file(MODELS / "digits.safetensors")
    for name, values in load_file(path).items():
        if name.startswith("embed.") or name.endswith("weight"):
            # Words of Q16.16 for float32 weights: a rounding may fall on the other side
            assert np.abs(values.astype(int) - stored[name]).max() <= 1, name
            assert (values == stored[name]).mean() > 0.98, name


def content(path):
    """Config and tensors of a whole model file; ModelError where it is not whole."""
    config, tensors = modelfile.read(path)
    return config, {name: values.tobytes() for name, values in tensors.items()}


def cut_power(virtual):
    """Ends MicroPython at once; the virtual board starts it again."""
    command = ["pgrep", "-P", str(virtual.process.pid)]
    found = subprocess.run(command, capture_output=True, text=True)
    for child in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)


def test_a_power_cut_leaves_old_or_new_weights(tuning):
    virtual, board, path = tuning
    versions = []
    for change in (0, 1):
        board.enter_repl()
        board.execute(compiled(PREPARE) + f"write({change})")
        versions.append(content(path))
    assert versions[0] != versions[1]
    moments = random.Random(7)
    for _ in range(CUTS):
        board.enter_repl()
        board.execute(compiled(PREPARE))
        board.transport.exec_raw_no_follow(FOR_EVER)
        board.transport.read_until(1, b"started", timeout=10)
        time.sleep(moments.uniform(0, 0.2))
        cut_power(virtual)
        board.transport.read_until(1, b">>> ", timeout=10)  # it has started again
        board.enter_repl()
        assert content(path) in versions
        assert board.execute(f"from attn8 import load\nprint(load({MODEL!r}).name)") == "digits\n"


BATCH = f"""
from attn8.train import load
trainer = load({TRAINING!r})
trainer._words[0] = command
trainer._words[1] = trainer.batch
step = trainer
"""


@pytest.mark.parametrize("command", [protocol.EVALUATE, protocol.TRAIN, protocol.CALIBRATE])
def test_a_batch_behind_int8_layers_allocates_nothing(board, remote, command):
    path = "/models/digits.safetensors"
    config = digits_config(load(MODELS / "digits.safetensors"), path, 9, 2)
    tensors = parameters(np.random.default_rng(0), config)
    push(board, TRAINING, pack(config, tensors))
    board.enter_repl()
    without, with_batches = remote(compiled(BATCH) + MEASURE, command=command)
    assert with_batches == without
