"""`attn8 plan` against what the virtual board reports."""

import json

import pytest

from attn8_host.boards.virtual import open_virtual
from attn8_host.cli import main
from attn8_host.deploy import deploy
from attn8_host.plan import plan
from attn8_host.quantize import exact_constants

MAKE = """
import gc
from array import array
from attn8 import MultiHeadAttention, tables
def make(s, e, h):
    tensors = {{}}
    for part in ("q", "k", "v", "out"):
        name = "attn." + part
        tensors[name + ".weight"] = array("b", bytes(e * e))
        tensors[name + ".bias"] = array("i", bytes(4 * e))
        tensors[name + ".mult"] = array("h", [20000] * e)
        tensors[name + ".shift"] = array("b", [25] * e)
    return MultiHeadAttention(s, e, h, tensors, {constants!r})
layer = make{shape!r}
layer = tables._octaves = None  # of which all layers share one
gc.collect()
before = gc.mem_alloc()
layer = make{shape!r}
gc.collect()
print(gc.mem_alloc() - before)
"""


@pytest.mark.parametrize("shape", [(32, 64, 4), (64, 32, 2), (8, 16, 2)])
def test_ram_is_what_the_board_reports(shape):
    seq_len, embed_dim, num_heads = shape
    planned = plan(*shape, word=8)
    entry = {"type": "attention", "core": "exact", "seq_len": seq_len, "embed_dim": embed_dim,
             "num_heads": num_heads}
    constants = exact_constants(embed_dim // num_heads, 0.03, 0.03, 0.03, 0.02)
    with open_virtual(heap_size="1M") as board:
        deploy(board, config={"layers": [entry]})
        reported = int(board.execute(MAKE.format(shape=shape, constants=constants)))
    assert abs(planned.ram - reported) <= 0.05 * reported, (planned.ram, reported)
    assert sum(planned.buffers.values()) < planned.ram


def test_it_says_what_fits(tmp_path, capsys):
    path = tmp_path / "plan.json"
    command = ["plan", "--seq-len", "16", "--embed-dim", "32", "--heads", "4", "--json", str(path)]
    assert main(command) == 0
    small = json.loads(path.read_text())
    assert all(small["fits"].values()) and small["instructions"] > 100_000
    assert "predicted" in capsys.readouterr().out
    command[2], command[4] = "256", "256"
    assert main(command) == 1
    assert not any(json.loads(path.read_text())["fits"].values())


def test_what_the_layer_refuses_is_one_line(capsys):
    assert main(["plan", "--seq-len", "16", "--embed-dim", "10", "--heads", "3"]) == 2
    assert "expected a multiple of num_heads 3, got 10" in capsys.readouterr().err
