"""The emulated chip behind `--board qemu`; needs Espressif's QEMU and ATTN8_FIRMWARE."""

import shutil

import pytest

from attn8_host.boards import open_board
from attn8_host.boards.qemu import MACHINES
from attn8_host.cli import main
from attn8_host.deploy import deploy
from attn8_host.errors import BoardError
from tests.test_flash import ESP32, firmware


@pytest.fixture
def qemu():
    try:
        board = open_board("qemu")
    except BoardError as error:
        pytest.skip(str(error))
    with board:
        yield board


def test_it_runs_a_stock_firmware_and_the_package(qemu):
    assert qemu.info.implementation == "micropython"
    assert any(f"with {chip.replace('-', '')}" in qemu.info.machine for chip in MACHINES)
    deploy(qemu)
    qemu.enter_repl()
    assert qemu.execute("from attn8 import ReLU\nprint(list(ReLU(2)(b'\\xff\\x05')))") == "[0, 5]\n"


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
