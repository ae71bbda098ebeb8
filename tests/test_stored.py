"""Weights of int8 products that stay in the file, on the virtual board and in machine code."""

from array import array

import numpy as np
import pytest

from attn8_host.deploy import push
from attn8_host.isa.device import Device
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.plan.inference import one_layer, plan

DIGITS = MODELS / "digits.safetensors"
PATH = "/models/stored.safetensors"

RUN = f"""
import gc
import attn8
found = []
for weights in "resident", "stream":
    model = layer = None
    gc.collect()
    start = gc.mem_alloc()
    model = attn8.load({PATH!r}, weights=weights)
    gc.collect()
    held = gc.mem_alloc() - start
    for i in range(len(model.input)):
        model.input[i] = i % 100
    model()
    before = after = 0
    before = gc.mem_alloc()
    model()
    after = gc.mem_alloc()
    found.append((bytes(model.layers[-1].out), after - before, held))
print(found)
"""


def test_a_board_reads_them_again_and_again(board):
    push(board, PATH, DIGITS.read_bytes())
    board.enter_repl()
    (resident, *first), (streamed, *second) = eval(board.execute(RUN))
    model = load(DIGITS, need_weights=False)
    x = np.arange(model.input_size) % 100
    assert resident == streamed == model(x.astype(np.int8))[model.output].tobytes()
    assert first[0] == second[0] == 0 and first[1] - second[1] > 4000


@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc"])
def test_machine_code_packs_them_each_time(arch):
    device = Device(arch, "turbo")  # its file is open as long as it is there
    model = device.load("attn8.model").load(str(DIGITS), weights="stream")
    assert any(hasattr(layer, "linear") and layer.linear.stored for layer in model.layers)
    wanted = load(DIGITS, need_weights=False)
    for seed in range(2):
        x = np.random.default_rng(seed).integers(-127, 128, wanted.input_size).astype(np.int8)
        found = np.array(model(array("b", x.tobytes())))
        assert (found == wanted(x)[wanted.output]).all()


def test_plan_says_what_they_leave():
    planned = plan(*one_layer("exact", 16, 96, 4), predicted=lambda: (0, 0))
    assert planned.streamed_peak is not None and planned.streamed_peak < planned.peak_heap
