"""`attn8 flash`, with esptool's own code against a simulated ROM loader (see rom_loader.py)."""

import hashlib
import random
import socket
import struct
import time
from types import SimpleNamespace

import pytest

from attn8_host.boards import Board
from attn8_host.boards.firmware import CHIPS
from attn8_host.cli import main
from tests.rom_loader import SimulatedChip

# pyserial 3.5 and esptool call what newer versions of Python deprecate
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ESP32, ESP32C3 = 0, 5


def firmware(path, chip_id, size=40_001):
    """A file in a firmware's form: header, partition table at 0x8000 of the flash, random rest."""
    # Half of it compresses, as half of a real one does
    image = bytearray(random.Random(chip_id).randbytes(size // 2).ljust(size, b"\0"))
    struct.pack_into("<BBBBIB3xHBHHIB", image, 0, 0xE9, 2, 2, 0x20, 0x400805AC, 0xEE,
                     chip_id, 0, 0, 399, 0, 1)  # fmt: skip
    table = 0x8000 - CHIPS[chip_id].BOOTLOADER_FLASH_OFFSET
    image[table : table + 2] = b"\xaa\x50"
    path.write_bytes(image)
    return bytes(image)


@pytest.fixture(autouse=True)
def brisk_polling(monkeypatch):
    """pyserial's RFC 2217 client looks every 50 ms for an answer, twice a command of esptool's."""
    brisk = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 50))
    monkeypatch.setattr("serial.rfc2217.time", brisk)


@pytest.fixture(params=["esp32", "esp32c3"])
def chip(request):
    chip = SimulatedChip(request.param)
    yield chip
    chip.close()


def flash(chip, path, *arguments):
    return main(["flash", "--board", chip.url, "--firmware", str(path), *arguments])


@pytest.mark.parametrize("loader", [[], ["--no-stub"]])
def test_flash_erases_writes_verifies_and_starts(chip, loader, tmp_path, capsys):
    offset = chip.rom.BOOTLOADER_FLASH_OFFSET
    image = firmware(tmp_path / "f.bin", chip.rom.IMAGE_CHIP_ID)
    assert flash(chip, tmp_path / "f.bin", *loader) == 0
    end = offset + len(image)
    assert chip.flash[offset:end] == image
    assert set(chip.flash[end:]) == {0xFF}  # an old file system is gone
    assert set(chip.flash[:offset]) <= {0 if loader else 0xFF}
    assert "micropython" in capsys.readouterr().out


@pytest.mark.parametrize("summed", [False, True])
def test_a_data_partition_comes_behind_all_others(chip, tmp_path, capsys, summed):
    name, path = chip.rom.IMAGE_CHIP_ID, tmp_path / "f.bin"
    image = bytearray(firmware(path, name))
    start = 0x8000 - chip.rom.BOOTLOADER_FLASH_OFFSET
    table = b"".join(struct.pack("<2sBBII16sI", b"\xaa\x50", *entry, 0) for entry in (
        (1, 2, 0x9000, 0x6000, b"nvs"), (0, 0, 0x10000, 0x20800, b"factory")))
    rest = b"\xeb\xeb".ljust(16, b"\xff") + hashlib.md5(table).digest() if summed else b""
    image[start : start + 0xC00] = (table + rest).ljust(0xC00, b"\xff")
    path.write_bytes(image)
    assert flash(chip, path, "--data", "300001") == 0
    made = table + struct.pack("<2sBBII16sI", b"\xaa\x50", 1, 6, 0x31000, 0x4A000, b"attn8", 0)
    if summed:
        made += b"\xeb\xeb".ljust(16, b"\xff") + hashlib.md5(made).digest()
    image[start : start + len(made)] = made
    assert chip.flash[chip.rom.BOOTLOADER_FLASH_OFFSET :][: len(image)] == image
    path.write_bytes(image)  # it has one now
    capsys.readouterr()
    assert flash(chip, path, "--data", "4K") == 2
    assert "has a partition attn8 already" in capsys.readouterr().err
    image[start + 8] ^= 1
    path.write_bytes(image.replace(b"attn8", b"other"))
    assert (flash(chip, path, "--data", "32M"), chip.erased) == (2, chip.erased)
    said = capsys.readouterr().err
    assert ("its partition table is damaged" if summed else "nothing was erased") in said


def test_a_chip_that_starts_unheard_answers_later(chip, tmp_path):
    # As after esptool's last command, when it hangs up before the chip says anything
    offset = chip.rom.BOOTLOADER_FLASH_OFFSET
    image = firmware(tmp_path / "f.bin", chip.rom.IMAGE_CHIP_ID)
    chip.flash[offset : offset + len(image)] = image
    chip.client = socket.socket()
    chip.client.close()
    chip._reset()
    time.sleep(0.2)
    with Board(chip.url) as board:
        assert board.execute("print(6 * 7)") == "42\n"


def test_an_image_for_another_chip_is_refused_before_anything_is_erased(chip, tmp_path, capsys):
    other = ESP32C3 if chip.rom.IMAGE_CHIP_ID == ESP32 else ESP32
    firmware(tmp_path / "f.bin", other)
    assert flash(chip, tmp_path / "f.bin") == 2
    assert f"and the chip is {chip.rom.CHIP_NAME}; nothing was erased" in capsys.readouterr().err
    assert chip.erased == 0


def test_damage_in_the_flash_is_noticed(chip, tmp_path, capsys, monkeypatch):
    write = SimulatedChip._write

    def worn_out(self, block):
        write(self, bytes([block[0] ^ 1]) + block[1:])

    monkeypatch.setattr(SimulatedChip, "_write", worn_out)
    firmware(tmp_path / "f.bin", chip.rom.IMAGE_CHIP_ID)
    assert flash(chip, tmp_path / "f.bin") == 2
    assert "MD5 of file does not match data in flash" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read"),
        (b"", "is no ESP32 firmware image"),
        (b"MicroPython" * 10, "is no ESP32 firmware image"),
        (b"\xe9" + bytes(40_000), "has no partition table"),
        (b"\xe9" + bytes(11) + b"\x63" + bytes(40_000), "is for an unknown chip"),
        (b"\xe9" + bytes(0x6FFF) + b"\xaa\x50" + bytes(2_000_000), "will not fit in 1048576 bytes"),
    ],
)
def test_what_is_no_firmware_is_refused(content, message, tmp_path, capsys):
    chip = SimulatedChip("esp32")
    path = tmp_path / "f.bin"
    if content is not None:
        path.write_bytes(content)
    try:
        assert flash(chip, path) == 2
    finally:
        chip.close()
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert chip.erased == 0


def test_a_port_without_a_chip_is_one_line(tmp_path, capsys):
    firmware(tmp_path / "f.bin", ESP32)
    arguments = ["flash", "--board", "/dev/ttyNONE", "--firmware", str(tmp_path / "f.bin")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("attn8: no such board or port: /dev/ttyNONE")
