"""Wrong calls of every public class: refused in one line, and not a byte changes.

`pytest tests/test_fuzz_calls.py --calls 10000` makes the full run.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.quantize import CONSTANTS, random_features

PROGRAM = (Path(__file__).parent / "wrong_calls.upy").read_text()
BATCH = 500  # calls that the board is asked for at a time
GROUPS = ("core", "layer", "mask", "training")


def constants():
    scales = 4 * (0.03,)
    made = {name: CONSTANTS[name](4, *scales) for name in ("exact", "flash", "linear")}
    made["elu"] = CONSTANTS["linear"](4, *scales, phi="elu+1")
    made["performer"] = CONSTANTS["performer"](4, *scales, features=random_features(1, 5, 4, 1))
    made["local_global"] = CONSTANTS["local_global"](
        4, *scales, gate=np.zeros((1, 4)), window=1, global_indices=[0])
    made["local_global"].pop("gate")
    return {core: {key: value.ravel().tolist() if isinstance(value, np.ndarray) else value
                   for key, value in values.items()} for core, values in made.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_wrong_calls_are_refused_and_change_nothing(attn8_folder, request, group):
    calls = request.config.getoption("--calls") // len(GROUPS)
    virtual = VirtualBoard(root=attn8_folder, heap_size="4M")
    with Board(virtual.port, close=virtual.stop) as board:
        board.execute(PROGRAM)
        board.execute(f"targets = {group}_targets({constants()!r})")
        for first in range(0, calls, BATCH):
            count = min(BATCH, calls - first)
            said = board.execute(f"print(repr(run(targets, {first + 1}, {count})))", timeout=300)
            assert ast.literal_eval(said) == []
