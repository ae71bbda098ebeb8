"""Generated arguments of every subcommand: 0, 1 or 2, one line for 2, no traceback, in time.

`pytest tests/test_words.py --words 1000` makes the full run.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from attn8_host.cli import main, parser
from attn8_host.commands.boards import start
from attn8_host.commands.parser import Parser
from attn8_host.paths import MODELS
from attn8_host.proof.bench import density, encoder, growth

SECONDS = 30  # of work, in which every command ends
VALUES = [
    "0", "1", "-5", "8", "100000", "8192", "99999999999", "1e9", "nan", "inf", "", " ", "\x1b[2J",
    "[red]", "abc", "[]", "{}", "x=1", "mask=[]", "mask=[[1]]", "mask=[\"random\"]", "hide=1",
    "seq_len=1", "block_size=abc", "features=1000000000", "window=-1", "window=1e400",
    "[" * 5000, "x" * 5000, "ü", "\udcff", "/dev/zero", "/dev/null", "/dev/full", "/etc/passwd/x",
    "/", ".", "nosuch", "socket://127.0.0.1:9", "rfc2217://", "id:", "u99", "exact", "flash",
    "sparse", "performer", "local_global", "iris", "digits", "full", "random", "hnsw", "Q8.8",
    "digits.safetensors", "digits_float.safetensors", "iris_data.safetensors",
]
# What opens a board, or works for long where all is right: with a board that is none
BOARD = ["--board", "/dev/nosuch"]


def leaves(above: Parser, path=()):
    """Every subcommand: (its words, its parser)."""
    yield path, above
    for action in above._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, made in action.choices.items():
                yield from leaves(made, (*path, name))


def generated(rng):
    path, made = rng.choice([each for each in leaves(parser()) if each[0]])
    options = [each for each in made._actions
               if not isinstance(each, (argparse._SubParsersAction, argparse._HelpAction))]
    words = list(path)
    for action in rng.sample(options, rng.randrange(min(5, len(options)) + 1)):
        if action.dest == "board":
            continue
        words += action.option_strings[:1]
        if action.nargs != 0:
            choices = [str(choice) for choice in action.choices or []]
            words.append(rng.choice([*choices, *VALUES] if rng.random() < 0.5 or not choices
                                    else choices))
    if any("--board" in each.option_strings for each in options):
        words += BOARD
    return words


def ends(words, capfd):
    """Runs a command; its status, once what it says is as it must be."""
    start = time.process_time()
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code
    seconds = time.process_time() - start  # whatever else the machine does
    said = capfd.readouterr().err
    assert seconds < SECONDS, words
    assert status in (0, 1, 2), words
    assert "Traceback" not in said
    lines = said.splitlines()
    # `boards` says in its table, or in its JSON, which board does not answer
    assert status != 2 or len(lines) == 1 or (not lines and words[0] == "boards"), (words, said)
    return status


@pytest.fixture
def small(monkeypatch):
    """Some commands count for minutes, where small shapes take a second; one serves until it is
    interrupted."""
    monkeypatch.setattr(density, "SEQ_LEN", 16)
    monkeypatch.setattr(density, "LEVELS", (0.1, 1.0))
    for name, size in (("SEQ_LEN", 4), ("EMBED_DIM", 8), ("NUM_HEADS", 2), ("HIDDEN", 8)):
        monkeypatch.setattr(encoder, name, size)
    for name, size in (("LENGTHS", (4,)), ("BACKENDS", ("viper",)), ("EMBED_DIM", 8),
                       ("NUM_HEADS", 2)):
        monkeypatch.setattr(growth, name, size)
    stand_in = SimpleNamespace(Popen=Interrupted, PIPE=subprocess.PIPE)
    monkeypatch.setattr(start, "subprocess", stand_in)


def test_generated_arguments(request, capfd, monkeypatch, tmp_path, small):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "digits_float", "iris_data"):  # copies: a command may write there
        shutil.copy(MODELS / f"{name}.safetensors", tmp_path)
    monkeypatch.setattr("attn8_host.boards.find_boards", list)
    rng = random.Random(3)
    seen = set()
    for _ in range(request.config.getoption("--words")):
        seen.add(ends(generated(rng), capfd))
    assert 2 in seen


@pytest.mark.parametrize(("words", "status"), [
    (["bench", "density", "--isa", "rv32imc"], 0), (["bench", "encoder", "--isa", "rv32imc"], 0),
    (["bench", "growth", "--isa", "rv32imc", "--core", "micro"], 0),
    (["boards", "start", "virtual"], 0), (["boards", "start", "virtual", "--root", "new/ü"], 0),
    (["boards", "start", "virtual", "--root", "\udcff"], 2),
])  # fmt: skip
def test_what_counts_or_serves_for_long(words, status, capfd, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ends(words, capfd) == status


class Interrupted(subprocess.Popen):
    """A process for which whoever waits is interrupted once, after a second."""

    interrupted = False

    def wait(self, timeout=None):
        if self.interrupted or timeout is not None:
            return super().wait(timeout)
        self.interrupted = True
        try:
            return super().wait(1)
        except subprocess.TimeoutExpired:
            raise KeyboardInterrupt from None


@pytest.mark.parametrize("words", [
    ["\x1b[2J"], ["plan", "\x1b[2J\x07", "a\nb"], ["plan", "--seq-len", "\x1b[2J"],
    ["plan", "--\x1b[2J"], ["boards", "start", "\x1b[2J"], ["demo", "--s\u202e=1"],
    ["plan", "\udcff"],
])
def test_what_argparse_says_is_escaped(words, capfd):
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capfd.readouterr().err
    assert ended.value.code == 2
    (line,) = said.splitlines()
    assert line.isprintable() and line.startswith("attn8: ")


PLAN = ["plan", "--seq-len", "8", "--heads", "2"]


@pytest.mark.parametrize(("words", "said"), [
    ([*PLAN, "--embed-dim", "100000"], "attn.embed_dim: expected 1 to 4096, got 100000"),
    ([*PLAN, "--embed-dim", "8192"], "attn.embed_dim: expected 1 to 4096, got 8192"),
    ([*PLAN[:1], "--seq-len", "32768", "--heads", "2", "--embed-dim", "256"],
     "expected at most 4194304 values of input, got 8388608"),
    ([*PLAN, "--embed-dim", "8", "--core", "performer", "--option", "num_features=1000000000"],
     "num_features: expected at most 256, got 1000000000"),
    ([*PLAN, "--embed-dim", "8", "--core", "sparse", "--option", "mask=[]"],
     "mask: expected one of"),
    ([*PLAN, "--embed-dim", "8", "--core", "sparse", "--option", 'mask=["local_window"]'],
     "mask: local_window does not take []"),
    (["demo", "--baud", "99999999999"], "--baud: expected a whole number from 1 to 20000000"),
    (["boards", "start", "virtual", "--root", "/etc/passwd/x"], "/etc/passwd/x: Not a directory"),
    (["soak", "--seed", "-5"], "--seed: expected a whole number from 0 to 4294967295, got '-5'"),
    (["bench", "link", "--bytes", "100000000000"], "--bytes: expected a whole number from 1 to"),
    (["flash", "--firmware", "/dev/zero", "--board", "/dev/null"],
     "/dev/zero: a device or a socket; write what it gives to a file, and name that"),
])  # fmt: skip
def test_what_was_a_traceback_or_endless_is_one_line(words, said, capfd):
    start = time.process_time()
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert said in capfd.readouterr().err.splitlines()[-1]
    assert time.process_time() - start < SECONDS


def test_a_backend_that_source_would_ignore_is_refused(capfd, monkeypatch):
    monkeypatch.setenv("ATTN8_BACKEND", "turbo")
    assert main(["deploy", "--board", "virtual", "--source", "--dry-run"]) == 2
    assert "ATTN8_BACKEND is turbo, and --source sends no machine" in capfd.readouterr().err


def test_memory_that_this_computer_lacks_is_one_line(capfd, monkeypatch):
    def lacks(*arguments):
        raise MemoryError

    monkeypatch.setattr("attn8_host.plan.inference.layer_plan", lacks)
    assert main([*PLAN, "--embed-dim", "8"]) == 2
    assert capfd.readouterr().err == (
        "attn8: this computer has not enough memory for it; give smaller sizes\n"
    )


def test_output_that_nobody_reads_is_no_result_that_differs():
    command = [sys.executable, "-m", "attn8_host", *PLAN, "--embed-dim", "8"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 2
    assert done.stderr == "attn8: its output was closed before all of it was written\n"
