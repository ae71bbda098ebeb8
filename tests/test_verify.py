"""`attn8 verify`: every mechanism has its cases, they pass, and the proof can fail."""

import json

import numpy as np
import pytest

from attn8_host import cores, isa
from attn8_host.cli import main
from attn8_host.deploy import deploy
from attn8_host.plan.inference import plan
from attn8_host.proof import cases as mechanisms
from attn8_host.proof import verify as run

CASE = {
    "mechanism", "variant", "shape", "bit_exact", "mismatches", "max_lsb_vs_float",
    "cosine_vs_float", "device_us", "ram_bytes",
}


def test_every_core_is_verified():
    assert mechanisms.mechanisms().keys() >= cores.all_cores().keys()


def test_the_grid_is_wide():
    lengths, widths, heads = zip(*mechanisms.SHAPES, strict=True)
    assert min(lengths) == 1 and 64 in lengths and 512 in lengths
    assert min(widths) == 8 and max(widths) == 128
    assert min(heads) == 1 and max(heads) == 8


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(mechanisms, "SHAPES", [(5, 9, 3), (18, 16, 2)])
    monkeypatch.setattr(mechanisms, "VARIANT_SHAPES", [(7, 6, 1)])
    monkeypatch.setattr(mechanisms, "COST_LENGTHS", (16, 32))


def test_every_mechanism_on_the_virtual_board(tmp_path, capsys, small_grid):
    json_file, png = tmp_path / "verify.json", tmp_path / "cost.png"
    arguments = ["verify", "--board", "virtual", "--json", str(json_file), "--png", str(png)]
    assert main(arguments) == 0
    outcome = json.loads(json_file.read_text())
    assert outcome["bit_exact"] is True
    assert {case["mechanism"] for case in outcome["cases"]} == mechanisms.mechanisms().keys()
    assert {case["variant"] for case in outcome["cases"] if case["mechanism"] == "exact"} == {
        "full", "causal", "padded", "cross", "precise"
    }
    for case in outcome["cases"]:
        assert case.keys() >= CASE
        assert case["bit_exact"] and case["mismatches"] == 0 and case["compared"] > 0
        # micro's truncations are kept, whatever they cost; fixed point may overflow
        if case["mechanism"] not in ("micro", "self_attention_1d"):
            most = 3 if case["variant"] == "elu+1" else 1  # uint8 tables, and extreme inputs
            assert case["max_lsb_vs_float"] <= most, case
            assert case["cosine_vs_float"] >= 0.9997
        assert case["device_us"] > 0 and case["ram_bytes"] > 0
    assert {cost["mechanism"] for cost in outcome["cost"]} == cores.all_cores().keys()
    assert {cost["seq_len"] for cost in outcome["cost"]} == {16, 32}
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "exact causal" in capsys.readouterr().out


def test_ram_is_what_the_model_takes(board):
    rng = np.random.default_rng(0)
    known = mechanisms.mechanisms()
    cases = [next(case for case in known[core](rng) if case.shape["seq_len"] == 16)
             for core in ("exact", "sliding", "linear")]
    deploy(board, backend="viper")
    chip = {"arch": board.info.arch} if board.info.arch in isa.ARCHES else {"word": 8}
    try:
        for case in cases:
            planned = plan(
                case.config, case.tensors, backend="viper", predicted=lambda: 0, **chip
            )
            run.send(board, case)
            for _ in range(2):
                assert run.measure(board, case)[1] == pytest.approx(planned.ram, rel=0.05)
    finally:
        deploy(board)


# As a collector that still sees the last model, on the stack, until the next one is there
KEEP_LAST = """
from attn8 import model
plain = model.load
def load(*arguments):
    global last
    last = plain(*arguments)
    return last
model.load = load
"""


def test_ram_is_right_where_the_collector_sees_an_old_model(board):
    case = next(mechanisms.mechanisms()["exact"](np.random.default_rng(0)))
    run.send(board, case)
    _, expected = run.measure(board, case)
    run.send(board, case)
    board.execute(KEEP_LAST)
    assert run.measure(board, case)[1] == expected
    assert expected > sum(tensor.nbytes for tensor in case.tensors.values())


def test_one_wrong_constant_is_noticed(tmp_path, monkeypatch, small_grid):
    send = run.send

    def alter(board, case):
        send(board, case)
        case.tensors["attn.v.bias"][-1] += 1 << 12

    monkeypatch.setattr(run, "send", alter)
    arguments = ["verify", "--board", "virtual", "--core", "exact"]
    assert main([*arguments, "--png", str(tmp_path / "a.png")]) == 1


def test_an_unknown_mechanism_is_one_line(capsys):
    assert main(["verify", "--board", "virtual", "--core", "nosuch", "--core", "exact"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("attn8: no such mechanism: nosuch; expected conv1d")
    assert len(said.splitlines()) == 1


def test_recorded_inputs_are_real_activations():
    tokens = mechanisms.recorded((33, 24))
    assert tokens.shape == (33, 24)
    assert np.unique(tokens).size > 50
