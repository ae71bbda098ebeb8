"""Names of boards, and the list of what is there."""

import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from attn8_host.boards import BoardInfo, discovery, resolve
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.commands.shared import board_line
from attn8_host.errors import BoardError


@pytest.mark.parametrize(
    "name, port",
    [
        ("a0", "/dev/ttyACM0"),
        ("u12", "/dev/ttyUSB12"),
        ("c1", "COM1"),
        ("com3", "com3"),
        ("/dev/ttyUSB0", "/dev/ttyUSB0"),
        ("socket://127.0.0.1:5000", "socket://127.0.0.1:5000"),
        ("rfc2217://lab:2217?ign_set_control", "rfc2217://lab:2217?ign_set_control"),
        ("virtual", "virtual"),
        ("qemu", "qemu"),
    ],
)
def test_a_name_stands_for_a_port(name, port):
    assert resolve(name) == port


@pytest.fixture
def usb(monkeypatch):
    """Two adapters on USB and one port that is none."""
    ports = [
        SimpleNamespace(device="/dev/ttyUSB1", vid=0x10C4, serial_number="0002"),
        SimpleNamespace(device="/dev/ttyS0", vid=None, serial_number=None),
    ]
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: ports)
    monkeypatch.delenv("ATTN8_BOARD", raising=False)
    return ports


def test_a_connected_board_is_found(usb, monkeypatch):
    assert resolve() == resolve("auto") == resolve("id:0002") == "/dev/ttyUSB1"
    with pytest.raises(BoardError, match="no board with serial number 3; there are: id:0002"):
        resolve("id:3")
    monkeypatch.setenv("ATTN8_BOARD", "a7")
    assert resolve() == "/dev/ttyACM7"
    usb.clear()
    assert resolve("auto") == "virtual"


def test_no_chip_is_said_to_be_missing_where_one_is(usb, capsys):
    info = BoardInfo("virtual", "/dev/pts/3", "micropython", "1.29.0", "linux", "x64", "6.3")
    board_line(Console(width=200), info)
    assert "Using the virtual board: linux" in capsys.readouterr().out
    usb.clear()
    board_line(Console(width=200), info)
    assert "Using the virtual board (no chip is connected): linux" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nosuch", "a", "x0", "http://127.0.0.1:80", "COM"])
def test_other_names_are_refused(name):
    with pytest.raises(BoardError, match=f"no such board: {name}; expected auto, virtual"):
        resolve(name)


def test_a_file_is_no_board(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["demo", f"--board={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err == f"attn8: {tmp_path / 'file'} is no serial port\n"


def test_boards_lists_what_answers(capsys):
    virtual = VirtualBoard()
    try:
        assert main(["boards", "--board", virtual.port, "--json"]) == 0
    finally:
        virtual.stop()
    (board,) = json.loads(capsys.readouterr().out)
    assert board["port"] == virtual.port
    assert board["implementation"] == "micropython"
    assert 0 < board["free_heap"] < 2 * 115_000


def test_boards_says_what_does_not_answer(capsys, monkeypatch):
    monkeypatch.setenv("ATTN8_BOARD", "/dev/ttyNONE")
    assert main(["boards", "--json"]) == 2
    (board,) = json.loads(capsys.readouterr().out)
    assert board["error"].startswith("no such board or port: /dev/ttyNONE")


def test_a_bad_baud_rate_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("ATTN8_BAUD", "fast")
    assert main(["deploy", "--board", "/dev/ttyNONE"]) == 2
    assert capsys.readouterr().err.startswith("attn8: ATTN8_BAUD is 'fast'; expected a baud rate")
