"""The command line: what is refused before any work is done, in one line and with status 2."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attn8_host import commands, modelfile
from attn8_host.boards import Board
from attn8_host.cli import main, parser
from attn8_host.discover import entries
from attn8_host.paths import MODELS

PLAN = ["plan", "--seq-len", "8", "--embed-dim", "8", "--heads", "2"]


def refused(capsys, *arguments):
    """The one line that a command prints before it ends with status 2."""
    try:
        status = main(arguments)
    except SystemExit as error:  # argparse's
        status = error.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--samples", "0"], "--samples: expected a whole number from 1, got '0'"),
        (["demo", "--baud", "fast"], "expected a whole number from 1 to 20000000, got 'fast'"),
        (["soak", "--minutes", "inf"], "--minutes: expected a number of minutes above 0, got"),
        (["soak", "--minutes", "x"], "--minutes: expected a number of minutes above 0, got 'x'"),
        (["mask", "local_window", "x"], "expected a number or a list such as 0,2,5, got 'x'"),
        (["boards", "start", "virtual", "--root", __file__], f"{__file__} is no folder"),
        ([*PLAN, "--option", "window"], "--option: expected NAME=VALUE, got 'window'"),
    ],
)
def test_an_argument_that_is_none_is_refused_with_what_was_expected(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(("arguments", "line"), [
    (["train", "iris", "--lr", "7"], "--lr: expected a number from 0.00004 to 1, got '7'"),
    (["train", "iris", "--lr"], "--lr: expected one argument"),
    (["train"],
     "the following arguments are required: MODEL; `attn8 train --help` says what it takes"),
    (["train", "iris", "--rate", "1\n2"],
     r"unrecognized arguments: --rate 1 2; `attn8 --help` says what it takes"),
])
def test_what_argparse_refuses_is_one_line_as_well(capsys, arguments, line):
    assert refused(capsys, *arguments) == f"attn8: {line}"


MODEL, INPUTS = str(MODELS / "digits.safetensors"), "none.npy"
FLOATS, DATA = str(MODELS / "digits_float.safetensors"), str(MODELS / "digits_data.safetensors")
LAYER = "a model file says what its layers are"
# Options that what was asked for would ignore
IGNORED = [
    (["bench", "--board", "u7", "link"], "--board: give it behind `attn8 bench link`"),
    (["bench", "--json", "a", "density"], "--json: give it behind `attn8 bench density`"),
    (["bench", "--firmware", "a", "link"], "--firmware: `attn8 bench link` does not take it"),
    (["boards", "--baud", "9600", "start", "virtual"], "--baud: give it behind `attn8 boards st"),
    (["boards", "--json", "start", "virtual"], "--json: `attn8 boards start` does not take it"),
    (["bench", "--isa", "rv32imc", "--board", "u7"], "--board: --isa counts without a board"),
    (["bench", "--isa", "rv32imc", "--firmware", "a"], "--firmware: --isa counts without a board"),
    (["bench", "--isa", "rv32imc", "--baud", "9600"], "--baud: --isa counts without a board"),
    (["train", "digits", "--numbers", "Q8.8", "--png", "z"], "--numbers: only iris takes it"),
    (["train", "digits", "--png", "z"], "--png: digits draws nothing"),
    (["train", "iris", "--lr", "1"], "--lr: only a model file takes it"),
    (["train", MODEL, DATA, "--memory", "direct", "--batch", "2"], "--batch: a step of --memory"),
    (["train", "iris", "--shift", "rotate"], "--shift: only digits takes it"),
    (["run", MODEL, INPUTS, "--no-weights", "--png", "a"], "--png: --no-weights leaves nothing"),
    (["deploy", "--dry-run", "--boot"], "--boot: --dry-run speaks of the package alone"),
    (["verify", "--core", "conv1d", "--png", "a"], "--png: only cores of attention have a cost"),
    *((["plan", "--model", MODEL, option, *value], f"{option}: {LAYER}") for option, *value in (
        ("--seq-len", "8"), ("--embed-dim", "8"), ("--heads", "2"), ("--core", "flash"),
        ("--causal",), ("--option", "window=2"),
    )),
    ([*PLAN, "--train", "--core", "flash"], "--core: a layer that trains has one form"),
    ([*PLAN, "--train", "--causal"], "--causal: a layer that trains has one form"),
    ([*PLAN, "--train", "--option", "window=2"], "--option: a layer that trains has one form"),
    ([*PLAN, "--train", "--isa", "rv32imc"], "--isa: --train counts for all"),
    ([*PLAN, "--numbers", "Q8.8"], "--numbers: only --train takes it"),
    ([*PLAN, "--option", "window=2", "--option", "window=3"], "--option: a name is given more"),
    (["plan", "--train", "iris", "--heads", "2"], "--heads: a model that is named has its layers"),
    (["plan", "--train", "digits", "--numbers", "Q8.8"], "--numbers: only iris or a layer takes"),
    (["plan", "--train", "--model", "a", "--numbers", "float"], "--numbers: only iris or a layer"),
    (["demo", "--board", "virtual", "--baud", "9600"], "--baud: the board is virtual, without"),
    (["boards", "--board", "qemu", "--baud", "9600"], "--baud: the board is qemu, without"),
    (["soak", "--board", "virtual", "--firmware", "a"], "--firmware: the board is virtual,"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), IGNORED, ids=lambda each: " ".join(each[:5]))
def test_an_option_that_would_be_ignored_is_refused(
    capsys, monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Board, "__init__", None)  # before any board is asked
    assert refused(capsys, *arguments).startswith(f"attn8: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [
    ["demo", "--json", "x", "--png", "./x"],
    ["demo", "--json", "attn8-attention.png"],  # the picture's name, where none is given
    ["run", MODEL, INPUTS, "--output", "x", "--json", "x"],
])
def test_two_results_in_one_file_are_refused(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert "are one file, " in refused(capsys, *arguments)


@pytest.mark.parametrize("arguments", [
    ["train", "m", "d.npz", "--output", "new", "--png", "d.npz"],
    ["train", "m", "d.npz", "--output", "new", "--json", "./m"],
    ["train", "m", "d.npz", "--output", "m"],
    ["run", "m", "d.npz", "--json", "link"],
    ["quantize", "m", "--calibration", "d.npz", "--output", "d.npz"],
])
def test_what_is_read_is_not_overwritten(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("m", "d.npz"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("m")
    assert ", which would be overwritten; give two" in refused(capsys, *arguments)
    assert [(tmp_path / name).read_text() for name in ("m", "d.npz")] == ["m", "d.npz"]


def test_where_no_picture_is_drawn_its_file_does_not_matter(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attn8-training.png").mkdir()
    assert "no such board" in refused(capsys, "train", "digits", "--board", "nosuch")
    assert "it is a folder" in refused(capsys, "train", "iris", "--board", "nosuch")


def test_an_unknown_mechanism_is_refused_before_a_board_is_asked(capsys, monkeypatch):
    monkeypatch.setattr(Board, "__init__", None)
    line = refused(capsys, "verify", "--board", "virtual", "--core", "exact", "best")
    assert line.startswith("attn8: no such mechanism: best; expected ")


READERS = [
    ("plan", "--model", "FIFO"), ("run", "FIFO", INPUTS), ("run", MODEL, "FIFO"),
    ("deploy", "--model", "FIFO"), ("generate", "FIFO"), ("watch", "FIFO"),
    ("watch", MODEL, "--recording", "FIFO"), ("import", "FIFO", "--output", "x"),
    ("quantize", "FIFO", "--output", "x", "--calibration", INPUTS),
    ("quantize", FLOATS, "--output", "x", "--calibration", "FIFO"),
    ("import", "some.bin", "--tokenizer", "FIFO", "--output", "x"),
    ("import", "some", "--output", "x"), ("import", "some.onnx", "--output", "x"),
    ("train", MODEL, "FIFO", "--output", "x"), ("train", "FIFO", DATA, "--output", "x"),
    ("demo", "--board", "qemu", "--firmware", "FIFO"),
    ("record", "--sensor", "FIFO", "--output", "x", "--channels", "6", "--rate", "50", "--labels",
     "rest", "--window", "5", "--board", "virtual"),
]


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_pipe_is_refused_where_a_file_is_read(capsys, monkeypatch, tmp_path, words):
    """It would wait for ever for who writes there."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("FIFO")
    os.mkdir("some")
    for name in ("some.onnx", "some/config.json", "some.bin"):
        os.mkfifo(name)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    try:
        assert "a pipe; write what it gives to a file" in refused(capsys, *words)
    finally:
        signal.alarm(0)


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null"])
@pytest.mark.parametrize("words", [
    ("train", MODEL, DATA), ("quantize", FLOATS), ("import", FLOATS),
], ids=" ".join)
def test_where_no_file_can_be_nothing_is_computed_first(capsys, monkeypatch, place, words):
    monkeypatch.setattr(Board, "__init__", None)
    assert f"cannot write {place}: " in refused(capsys, *words, "--output", place)


DEMONSTRATION = """
from attn8_host.commands.parser import Command

def options(parser):
    parser.add_argument("--word", help="which")

def run(arguments, console):
    console.print(arguments.word)
    return 0

COMMAND = Command("say a word", options, run)
"""


def test_a_new_command_is_one_file(capsys, monkeypatch, tmp_path):
    (tmp_path / "say.py").write_text(DEMONSTRATION)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    entries.cache_clear()
    try:
        assert main(["say", "--word", "hello"]) == 0
        assert capsys.readouterr().out == "hello\n"
        with pytest.raises(SystemExit):
            main(["--help"])
        assert " say a word\n" in capsys.readouterr().out
    finally:
        entries.cache_clear()
        del sys.modules["attn8_host.commands.say"]


def test_help_is_quick():
    code = "import sys; from attn8_host.cli import parser; parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "matplotlib", "serial", "esptool", "mpremote", "unicorn", "safetensors"}
    assert not heavy & set(done.stdout.split())


def test_every_command_and_option_is_explained():
    parsers = [parser()]
    for each in parsers:
        assert each.description
        for action in each._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            else:
                assert action.help, f"{each.prog} {action.dest}"
    assert len(parsers) >= 19


COMMANDS = [["demo"], ["run", "model", "inputs.npy"], ["mask", "full"], ["verify"],
            ["train", "iris"], ["soak"], ["bench"], PLAN]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_where_no_file_can_be_written_nothing_is_begun(capsys, tmp_path, command):
    assert f"cannot write {tmp_path}: it is a folder" in refused(
        capsys, *command, "--json", str(tmp_path)
    )
    missing = tmp_path / "missing" / "file"
    assert "no such folder" in refused(capsys, *command, "--json", str(missing))


def test_a_file_without_permission_is_refused(capsys, tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    path.touch()
    monkeypatch.setattr("os.access", lambda asked, mode: asked != path)  # root may write anywhere
    assert "no permission" in refused(capsys, *PLAN, "--json", str(path))


def test_a_folder_that_takes_no_file_is_refused(capsys, monkeypatch, tmp_path):
    def none(*_, dir):
        raise PermissionError(13, "Permission denied", dir)

    monkeypatch.setattr("tempfile.TemporaryFile", none)  # root may write anywhere
    path = tmp_path / "plan.json"
    line = refused(capsys, *PLAN, "--json", str(path))
    assert line == f"attn8: cannot write {path}: Permission denied"


def test_a_full_disk_is_one_line(capsys, monkeypatch, tmp_path):
    path, write = tmp_path / "plan.json", Path.write_text

    def full(self, *text, **options):
        if self == path:
            raise OSError(28, "No space left on device", str(path))
        return write(self, *text, **options)

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert refused(capsys, *PLAN, "--json", str(path)) == f"attn8: {path}: No space left on device"


def test_pictures_are_png_whatever_their_name(capsys, tmp_path):
    png = tmp_path / "picture [red]"
    assert main(["demo", "--board", "virtual", "--samples", "1", "--png", str(png)]) == 0
    assert f"attention heat map: {png}\n" in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_terminal_without_unicode_shows_what_it_can():
    command = [sys.executable, "-m", "attn8_host", "mask", "full", "--seq-len", "4"]
    done = subprocess.run(
        [*command, "--board", "/dev/ttyNONE"], capture_output=True, text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stdout == "????\n" * 4
    assert done.returncode == 2 and "no such board or port" in done.stderr


@pytest.mark.parametrize("command", [["deploy", "--board", "virtual"], ["plan"]])
def test_a_float_model_is_refused_before_anything_is_sent(capsys, command):
    path = MODELS / "digits_float.safetensors"
    line = refused(capsys, *command, "--model", str(path))
    assert line == (f"attn8: {path}: embed.weight: expected int8 [128, 64], got float32 [128, 64]; "
                    "attn8 quantize makes an int8 model of floats")


@pytest.mark.parametrize(("words", "message"), [
    (["generate", "."], "folder; expected a file in it, such as attn8 import makes of a folder"),
    (["generate", "--float", "."], ".: a folder; expected a file in it, such as"),
    (["import", "x/model.safetensors", "--output", "made"],
     "x/model.safetensors: a part of a Hugging Face folder? Give the folder, with config.json in"),
    (["import", "x/config.json", "--output", "made"], "x/config.json: a part of a Hugging Face"),
])  # fmt: skip
def test_a_folder_in_a_files_place_and_a_file_in_a_folders_are_refused_at_once(
    capsys, monkeypatch, tmp_path, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Board, "__init__", None)
    assert message in refused(capsys, *words)


def test_features_that_are_none_are_refused(capsys):
    line = refused(capsys, *PLAN, "--core", "performer", "--option", "num_features=0")
    assert line == "attn8: performer: num_features: expected a whole number from 1, got 0"


def test_a_name_in_brackets_is_printed_as_it_is(capsys, tmp_path):
    config, tensors = modelfile.read(MODELS / "digits.safetensors")
    modelfile.write(tmp_path / "model", config | {"name": "digits [/]"}, tensors)
    assert main(["plan", "--model", str(tmp_path / "model")]) == 0
    assert "attn8 plan: digits [/], turbo" in capsys.readouterr().out
