"""Wrong calls of every public class: refused in one line, and not a byte changes.

`pytest tests/test_fuzz_calls.py --calls 10000` makes the full run.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cores.exact import exact_constants
from attn8_host.cores.exact16 import exact16_constants
from attn8_host.cores.flash import flash_constants
from attn8_host.cores.linear import linear_constants
from attn8_host.cores.local_global import local_global_constants
from attn8_host.cores.performer import performer_constants, random_features

PROGRAM = (Path(__file__).parent / "wrong_calls.upy").read_text()
BATCH = 500  # calls that the board is asked for at a time
GROUPS = ("core", "layer", "wide", "mask", "training")


def constants():
    """Of each core, as the program takes them."""
    shape = 4, 0.03, 0.03, 0.03, 0.03
    made = {
        "exact": exact_constants(*shape),
        "exact16": exact16_constants(4, *[0.03 / 256] * 4),
        "flash": flash_constants(*shape),
        "linear": linear_constants(*shape),
        "elu": linear_constants(*shape, phi="elu+1"),
        "performer": performer_constants(*shape, random_features(1, 5, 4, 1)),
        "local_global": local_global_constants(*shape, np.zeros((1, 4)), 1, [0]),
    }
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


def test_every_public_class_has_its_wrong_calls(attn8_folder):
    virtual = VirtualBoard(root=attn8_folder, heap_size="4M")
    with Board(virtual.port, close=virtual.stop) as board:
        board.execute(PROGRAM)
        made = ", ".join(f"{group}_targets({constants()!r})" for group in GROUPS)
        assert ast.literal_eval(board.execute(f"print(forgotten({made}))")) == []
