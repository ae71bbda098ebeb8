"""The emulated chip behind `--board qemu`; needs Espressif's QEMU and ATTN8_FIRMWARE."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from attn8_host.boards import open_board, qemu
from attn8_host.boards.qemu import MACHINES
from attn8_host.cli import main
from attn8_host.deploy import deploy
from attn8_host.errors import BoardError
from tests.test_flash import ESP32, firmware


@pytest.fixture
def emulated():
    try:
        board = open_board("qemu")
    except BoardError as error:
        pytest.skip(str(error))
    with board:
        yield board


def test_it_runs_a_stock_firmware_and_the_package(emulated):
    assert emulated.info.implementation == "micropython"
    assert any(f"with {chip.replace('-', '')}" in emulated.info.machine for chip in MACHINES)
    deploy(emulated)
    emulated.enter_repl()
    code = "from attn8 import ReLU\nprint(list(ReLU(2)(b'\\xff\\x05')))"
    assert emulated.execute(code) == "[0, 5]\n"


@pytest.fixture
def no_qemu(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTN8_QEMU", str(tmp_path))
    monkeypatch.delenv("ATTN8_FIRMWARE", raising=False)


def test_a_missing_emulator_is_one_line(no_qemu, tmp_path, capsys):
    firmware(tmp_path / "f.bin", ESP32)
    assert main(["deploy", "--board", "qemu", "--firmware", str(tmp_path / "f.bin")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"attn8: no qemu-system-xtensa in ATTN8_QEMU ({tmp_path}); get")
    assert len(said.splitlines()) == 1


def test_a_missing_firmware_is_one_line(no_qemu, capsys):
    assert main(["deploy", "--board", "qemu"]) == 2
    assert capsys.readouterr().err.startswith("attn8: --board qemu needs a MicroPython .bin")


# pyserial forgets to close a socket whose other end has gone
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_emulator_that_ends_says_why(no_qemu, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ATTN8_QEMU", shutil.which("false") or "")
    firmware(tmp_path / "f.bin", ESP32)
    assert main(["deploy", "--board", "qemu", "--firmware", str(tmp_path / "f.bin")]) == 2
    assert capsys.readouterr().err == "attn8: QEMU ended: without a word\n"


def test_an_emulator_ends_where_its_opening_is_interrupted(no_qemu, tmp_path, monkeypatch):
    program = tmp_path / "sleeps"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("ATTN8_QEMU", str(program))
    started = []

    def interrupted(*_, alive, **__):
        started.append(alive())
        raise KeyboardInterrupt

    stop = qemu.Emulator.stop
    monkeypatch.setattr(qemu, "first_answer", interrupted)
    monkeypatch.setattr(qemu.Emulator, "stop",
                        lambda self: (stop(self), started.append(self.process.poll())))
    firmware(tmp_path / "f.bin", ESP32)
    with pytest.raises(KeyboardInterrupt):
        open_board("qemu", firmware=tmp_path / "f.bin")
    assert started == [True, -9]


# Stands for QEMU: one end of its socket, behind which nothing answers or the virtual board does
FAKE = """#!{python}
import os, pathlib, select, socket, sys, time
fd = next(int(part[3:]) for word in sys.argv for part in word.split(",") if part[:3] == "fd=")
client, _ = socket.socket(fileno=fd).accept()
pathlib.Path({pid!r}).write_text(str(os.getpid()))
if {answers}:
    from attn8_host.boards.virtual import VirtualBoard
    board = VirtualBoard()
    port = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
    ways = {{client.fileno(): port, port: client.fileno()}}
while True:
    for each in select.select(list(ways) if {answers} else [client], [], [])[0]:
        data = os.read(each if {answers} else each.fileno(), 4096)
        if not data:
            time.sleep(60)  # QEMU waits for another one, but not here for good
            sys.exit()
        if {answers}:
            os.write(ways[each], data)
"""


@pytest.mark.parametrize(("number", "answers"), [
    (signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGHUP, True),
])
def test_an_emulator_ends_with_a_command_that_is_ended(no_qemu, tmp_path, monkeypatch, number,
                                                       answers):
    """While it starts, and while the board is at work."""
    program, started = tmp_path / "qemu", tmp_path / "pid"
    program.write_text(FAKE.format(python=sys.executable, pid=str(started), answers=answers))
    program.chmod(0o755)
    monkeypatch.setenv("ATTN8_QEMU", str(program))
    firmware(tmp_path / "f.bin", ESP32)
    command = [sys.executable, "-m", "attn8_host", "demo", "--board", "qemu",
               "--firmware", str(tmp_path / "f.bin")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=tmp_path, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        while not started.exists() or not started.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        if answers:
            assert "Using the board" in process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said) == (128 + number, "")
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
