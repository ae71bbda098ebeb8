"""Names of boards, and the list of what is there."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from serial.tools.list_ports_common import ListPortInfo

from attn8_host.boards import BoardInfo, discovery, open_board, resolve, uart
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
        ("com3", "COM3"),
        ("COM12", "COM12"),
        ("c12", "COM12"),
        (r"\\.\COM12", "COM12"),
        (r"\\.\com3", "COM3"),
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


@pytest.mark.parametrize(("spec", "said"), [
    ("virtual", "Using the virtual board: linux"),
    ("auto", "Using the virtual board (no chip is connected): linux"),
    (None, "Using the virtual board (no chip is connected): linux"),
])
def test_no_chip_is_said_to_be_missing_where_none_was_asked_for(usb, capsys, spec, said):
    info = BoardInfo("virtual", "/dev/pts/3", "micropython", "1.29.0", "linux", "x64", "6.3")
    board_line(Console(width=200), info, spec)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["nosuch", "a", "x0", "http://127.0.0.1:80", "COM", r"\\.\COM", r"\\?\COM3", "COM3:"]
)
def test_other_names_are_refused(name):
    with pytest.raises(BoardError, match=f"no such board: {re.escape(name)}; expected auto, virt"):
        resolve(name)


def port(device, number=None, vid=0x303A):
    made = ListPortInfo(device)
    made.vid, made.serial_number = vid, number
    return made


@pytest.fixture
def windows(monkeypatch):
    """A Windows computer's ports, as pyserial lists them: two boards and a modem."""
    ports = [port("COM12", "0012"), port("COM1", vid=None), port("COM3", "0003", 0x10C4)]
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: ports)
    monkeypatch.delenv("ATTN8_BOARD", raising=False)
    return ports


def test_boards_on_windows_are_found(windows):
    assert [board.device for board in discovery.find_boards()] == ["COM3", "COM12"]
    with pytest.raises(BoardError, match="several boards are connected: COM3, COM12; choose one"):
        resolve("auto")
    assert resolve("id:0012") == "COM12"
    del windows[2]
    assert resolve("auto") == "COM12"


@pytest.mark.parametrize("name, said", [
    ("COM12", "COM12 is busy: another program has it open; close that and try again"),
    (r"\\.\com12", "COM12 is busy: another program has it open; close that and try again"),
    ("COM9", "no such board or port: COM9; ports here: COM12, COM1, COM3; or use --board virtual"),
])  # fmt: skip
def test_why_a_port_of_windows_is_closed(windows, capsys, name, said):
    """What pyserial cannot open there: here there are no such ports, and listed ones seem busy."""
    assert main(["deploy", "--board", name]) == 2
    assert capsys.readouterr().err == f"attn8: {said}\n"
    assert main(["boards", "--board", name, "--json"]) == 2
    (board,) = json.loads(capsys.readouterr().out)
    assert board["error"] == said


def test_no_uart_sets_the_speed_of_a_chips_own_usb_on_windows(windows):
    assert uart.clkdiv("Generic ESP32C3 module with ESP32C3", resolve(r"\\.\com12")) is None
    assert uart.clkdiv("Generic ESP32 module with ESP32", resolve("com3")) == 0x3FF40014


def test_a_board_keeps_its_number_and_not_its_port(windows):
    """After a reset a chip's own USB may be another port; a bridge stays."""
    assert discovery.serial_number("COM12") == "0012"
    assert discovery.serial_number("COM1") is discovery.serial_number("COM9") is None
    assert discovery.followed("COM12", "0012") == "COM12"
    windows[0].device = "COM13"
    assert discovery.followed("COM12", "0012") == resolve("id:0012") == "COM13"
    assert discovery.followed("COM3", "0003") == "COM3"
    assert discovery.followed("COM1", None) == "COM1"
    del windows[0]  # not back yet
    assert discovery.followed("COM12", "0012") == "COM12"


def test_windows_has_no_virtual_board(windows, monkeypatch, capsys):
    windows.clear()
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BoardError, match="there is no virtual board on Windows; connect a board"):
        open_board("auto")
    assert main(["boards", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


WITHOUT_POSIX = """
import os, sys, types
import serial.tools.list_ports, mpremote.transport_serial  # which have parts for Windows
for name in ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "readline"):
    sys.modules[name] = None
for name in ("getuid", "geteuid", "fork", "kill", "openpty"):
    delattr(os, name)
serial.tools.list_ports.comports = list
from attn8_host.boards import running
from attn8_host.cli import main
running.sys = types.SimpleNamespace(platform="win32")
for command in (["boards", "--json"], ["deploy", "--board", "COM3"],
                ["plan", "--seq-len", "8", "--embed-dim", "8", "--heads", "2"]):
    print(main(command))
"""


def test_commands_need_nothing_that_windows_lacks():
    found = subprocess.run([sys.executable, "-c", WITHOUT_POSIX], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[:3] == ["[]", "0", "2"] and lines[-1] == "0", found.stdout
    assert found.stderr.startswith("attn8: no such board or port: COM3; ports here: none")


def test_a_file_is_no_board(capsys, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, "/dev/null", "/dev/zero"):
        assert main(["demo", f"--board={path}"]) == 2
        assert capsys.readouterr().err == f"attn8: {path} is no serial port\n"


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
