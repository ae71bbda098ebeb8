"""`attn8 verify`: every mechanism has its cases, they pass, and the proof can fail."""

import dataclasses
import json

import numpy as np
import pytest

from attn8_host import cores, isa
from attn8_host.boards.virtual import VirtualBoard
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


@pytest.fixture(scope="module")
def port():
    """Of a board for commands, on which the package stays from one to the next."""
    virtual = VirtualBoard()
    yield virtual.port
    virtual.stop()


@pytest.fixture
def verified(port, tmp_path, small_grid):
    """A function from arguments of `attn8 verify` to (exit status, JSON)."""

    def verified(*arguments):
        file = tmp_path / "verify.json"
        status = main(["verify", "--board", port, "--json", str(file),
                       "--png", str(tmp_path / "cost.png"), *arguments])
        return status, json.loads(file.read_text())

    return verified


def test_every_mechanism_on_the_virtual_board(verified, tmp_path, capsys):
    status, outcome = verified()
    assert (status, outcome["bit_exact"]) == (0, True)
    assert {case["mechanism"] for case in outcome["cases"]} == mechanisms.mechanisms().keys()
    assert {case["variant"] for case in outcome["cases"] if case["mechanism"] == "exact"} == {
        "full", "causal", "padded", "lengths", "causal, lengths", "cross", "precise"
    }
    for case in outcome["cases"]:
        assert case.keys() >= CASE
        assert case["bit_exact"] and case["mismatches"] == 0 and case["compared"] > 0
        # micro's truncations are kept, whatever they cost; fixed point may overflow
        kind = case["mechanism"]
        if kind == "encoder":
            assert case["mean_error"] <= case["most_mean_error"] == 0.01
            continue
        assert case["most_lsb"] is not None or kind == "micro" or kind not in cores.all_cores()
        if case["most_lsb"] is not None:
            assert case["max_lsb_vs_float"] <= case["most_lsb"] <= 1.2
        if kind not in ("micro", "self_attention_1d"):
            assert case["max_lsb_vs_float"] <= (case["most_lsb"] or 1), case
            assert case["cosine_vs_float"] >= 0.9997
        assert case["device_us"] > 0 and case["ram_bytes"] > 0
    assert {cost["mechanism"] for cost in outcome["cost"]} == cores.all_cores().keys()
    assert {cost["seq_len"] for cost in outcome["cost"]} == {16, 32}
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
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
                case.config, case.tensors, backend="viper", predicted=lambda: (0, 0), **chip
            )
            run.send(board, case)
            # What kernels of viper work in is less than the server's frames, which lie there too;
            # the board is measured without a server
            ram = planned.ram - planned.buffers["scratch"]
            for _ in range(2):
                assert run.measure(board, case)[1] == pytest.approx(ram, rel=0.05)
    finally:
        deploy(board)


# As a collector that still sees the last model, on the stack, until the next one is there
KEEP_LAST = """
import sys
import attn8.model
model = sys.modules["attn8.model"]
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


def test_one_wrong_constant_is_noticed(verified, monkeypatch):
    send = run.send

    def alter(board, case):
        send(board, case)
        case.tensors["attn.v.bias"][-1] += 1 << 12

    monkeypatch.setattr(run, "send", alter)
    assert verified("--core", "exact")[0] == 1


def test_broken_cross_attention_is_not_lack_of_memory(verified, monkeypatch, capsys):
    send = run.send

    def lose(board, case):
        # Its refusal is "attn.memory: expected shape ...": a word of it is no code
        if "attn.memory" in case.tensors:
            tensors = case.tensors | {"attn.memory": case.tensors["attn.memory"][:, 1:].copy()}
            case = dataclasses.replace(case, tensors=tensors)
        send(board, case)

    monkeypatch.setattr(run, "send", lose)
    status, outcome = verified("--core", "exact")
    assert (status, outcome["bit_exact"]) == (1, False)
    cross = [case for case in outcome["cases"] if case["variant"] == "cross"]
    assert cross and not any(case["skipped"] or case["bit_exact"] for case in cross)
    assert all("attn.memory: expected" in case["refused"] for case in cross)
    assert all(case["bit_exact"] for case in outcome["cases"] if case not in cross)
    assert "exact cross" in capsys.readouterr().out


def refusing(monkeypatch, error, when):
    """The board refuses to load the cases for which when(case) is true."""
    send = run.send

    def refuse(board, case):
        send(board, case)
        if when(case):
            board.execute(f"import attn8.model\ndef load(*_):\n    raise {error}\n"
                          "attn8.model.load = load")

    monkeypatch.setattr(run, "send", refuse)


def test_what_does_not_fit_is_skipped(verified, monkeypatch):
    refusing(monkeypatch, "MemoryError()", lambda case: case.shape["seq_len"] in (18, 32))
    status, outcome = verified("--core", "micro")
    assert (status, outcome["bit_exact"]) == (0, True)
    skipped = {case["shape"]["seq_len"]: case["skipped"] for case in outcome["cases"]}
    assert "out of memory" in skipped[18] and not skipped[5]
    assert [cost["seq_len"] for cost in outcome["cost"]] == [16]


def test_a_mechanism_of_which_no_case_fits_is_a_failure(verified, monkeypatch, capsys):
    refusing(monkeypatch, "MemoryError()", lambda case: case.mechanism == "micro")
    status, outcome = verified("--core", "micro", "conv1d")
    assert (status, outcome["bit_exact"]) == (1, False)
    assert "micro: no case ran" in capsys.readouterr().out


def test_a_mechanism_without_cases_is_a_failure(verified, monkeypatch, capsys):
    known = mechanisms.mechanisms() | {"conv1d": lambda rng: iter(())}
    monkeypatch.setattr(run, "mechanisms", lambda: known)
    assert verified("--core", "micro", "conv1d")[0] == 1
    assert "conv1d: no case ran" in capsys.readouterr().out


def test_a_refusal_where_the_cost_is_measured_is_a_failure(verified, monkeypatch, capsys):
    refusing(monkeypatch, "OSError(5)", lambda case: case.shape["seq_len"] == 32)
    status, outcome = verified("--core", "micro")
    assert (status, outcome["bit_exact"]) == (1, False)
    assert "micro cost" in capsys.readouterr().out


def test_an_unknown_mechanism_is_one_line(capsys):
    assert main(["verify", "--board", "virtual", "--core", "nosuch", "--core", "exact"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("attn8: no such mechanism: nosuch; expected activation, add")
    assert len(said.splitlines()) == 1


def test_recorded_inputs_are_real_activations():
    tokens = mechanisms.recorded((33, 24))
    assert tokens.shape == (33, 24)
    assert np.unique(tokens).size > 50


def test_what_is_too_far_from_floats_fails():
    near = run.CaseResult("gelu", "none", {}, True, 1, max_lsb_vs_float=0.5, most_lsb=0.75)
    far = run.CaseResult("gelu", "none", {"size": 3}, True, 1, max_lsb_vs_float=0.8, most_lsb=0.75)
    mean = run.CaseResult("encoder", "pre", {}, True, 1, mean_error=0.02, most_mean_error=0.01)
    outcome = run.Outcome({}, ["gelu", "encoder"], [near, far, mean])
    assert outcome.failures == [
        "gelu none {'size': 3}: off by 0.800 LSB, more than 0.75",
        "encoder pre {}: off by 2.00% on average, more than 1%"]
    assert not outcome.bit_exact
