"""No text of a board, a model or a file reaches the terminal as more than text."""

import pytest
from rich.table import Table
from rich.text import Text

from attn8_host import modelfile
from attn8_host.boards.board import Board, BoardInfo
from attn8_host.cli import main
from attn8_host.commands.shared import board_line
from attn8_host.errors import RemoteError
from attn8_host.paths import MODELS
from attn8_host.terminal import Terminal, printable

EVIL = "\x1b[2Jb\x07\x9b1m\u202eo[red]a[/]r[/x]d:smile:\r$\\frac"
SHOWN = r"\x1b[2Jb\x07\x9b1m\u202eo[red]a[/]r[/x]d:smile:\r$\frac"


def test_what_is_not_printable_is_escaped():
    assert printable(EVIL) == SHOWN
    assert printable("é\n日本") == "é\n日本"


@pytest.mark.parametrize("text", [EVIL, Text(EVIL)])
def test_tables_and_lines_hold_text(capsys, monkeypatch, text):
    monkeypatch.setenv("COLUMNS", "300")
    terminal = Terminal()
    table = Table(title=EVIL, caption=EVIL)
    table.add_column(EVIL)
    table.add_row(text)
    for each in (text, table):
        terminal.print(each)
    terminal.out(EVIL)
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert "[red]a[/]r[/x]d:smile:" in said


def test_the_name_of_a_board_is_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    info = BoardInfo("serial", EVIL, EVIL, "1.26", EVIL, None, "6.3")
    board_line(Terminal(), info, None)
    assert capsys.readouterr().out.strip().isprintable()


def test_the_error_of_a_board_is_one_line_of_text(capsys, monkeypatch):
    def opened(self, *arguments, **options):
        raise RemoteError(f"the board says: {EVIL}\n\x1b[2J")

    monkeypatch.setattr(Board, "__init__", opened)
    assert main(["undeploy", "--board", "/dev/null"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.strip().isprintable()


def test_names_in_a_model_are_text(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "300")
    config, tensors = modelfile.read(MODELS / "digits.safetensors")
    old = config["layers"][0]["name"]
    layers = [layer | {"name": EVIL} if layer["name"] == old else layer
              for layer in config["layers"]]
    renamed = {name.replace(f"{old}.", f"{EVIL}."): tensor for name, tensor in tensors.items()}
    path = tmp_path / "model"
    modelfile.write(path, config | {"name": EVIL, "layers": layers}, renamed)
    assert main(["plan", "--model", str(path)]) in (0, 1, 2)
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", "").isprintable()
    modelfile.write(path, config | {"layers": [config["layers"][0] | {"type": EVIL}]}, tensors)
    assert main(["plan", "--model", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.strip().isprintable()
