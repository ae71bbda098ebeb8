"""`attn8 flash`: stock MicroPython onto a chip, through esptool.

A firmware file for an ESP32 is an image of the flash from the chip's bootloader offset on: the
bootloader, the partition table (at 0x8000 of the flash) and MicroPython. Its header names the chip
that it is for (docs.espressif.com/projects/esptool, "Firmware Image Format").
"""

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from esptool import cmds
from esptool.loader import ESPLoader
from esptool.logger import TemplateLogger, log
from esptool.targets import ROM_LIST
from esptool.util import FatalError, flash_size_bytes

from .boards import BAUD, Board, BoardInfo
from .boards.board import why_closed
from .errors import BoardError, FirmwareError

FLASH_BAUD = 460800  # while writing; MicroPython's own instructions use it
OLDEST = (1, 23)  # MicroPython that attn8 runs on
REPL_SECONDS = 30  # a first start makes the file system

IMAGE_MAGIC = 0xE9
CHIP_ID = struct.Struct("<12xH")  # in the image's extended header
PARTITION_TABLE = 0x8000  # its place in the flash
PARTITION_MAGIC = b"\xaa\x50"

Report = Callable[[str, int, int | None], None]  # phase, bytes done, bytes in all if known


def flash(
    port: str,
    firmware: Path,
    baud: int = FLASH_BAUD,
    stub: bool = True,
    report: Report = lambda phase, done, total: None,
) -> BoardInfo:
    """Erases a chip, writes a MicroPython firmware, verifies it and waits for its REPL.

    Args:
        port: a serial port or a pyserial URL. On `socket://`, which carries no reset lines, the
            chip must wait in its download mode.
        firmware: a .bin of micropython.org for this chip.
        baud: of the line while writing; the ROM is met at 115200.
        stub: let esptool run its faster flasher on the chip in place of the ROM's own.
        report: told what is being done.

    Returns:
        What the board then says that it is.

    Raises:
        FirmwareError: the file is no firmware, or one for another chip; nothing was erased.
        BoardError: the chip does not answer, cannot be written, or does not start MicroPython.
    """
    image = _read(firmware)
    if port == "virtual":
        raise BoardError("no chip to flash: the virtual board is MicroPython already")
    with _esptool(port, report):
        report("connect", 0, None)
        chip = cmds.detect_chip(port)
        try:
            _check(firmware, image, chip)
            _write(chip, image, baud, stub, report)
        finally:
            chip._port.close()
    report("start MicroPython", 0, None)
    return _wait_for_repl(port, firmware)


def _read(path: Path) -> bytes:
    try:
        image = path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"cannot read {path}: {error.strerror}") from None
    if len(image) < CHIP_ID.size or image[0] != IMAGE_MAGIC:
        raise FirmwareError(
            f"{path} is no ESP32 firmware image; take a .bin from micropython.org/download"
        )
    return image


def _check(path: Path, image: bytes, chip: ESPLoader) -> None:
    """Refuses an image that this chip could not start."""
    (chip_id,) = CHIP_ID.unpack_from(image)
    if chip_id != chip.IMAGE_CHIP_ID:
        names = {rom.IMAGE_CHIP_ID: rom.CHIP_NAME for rom in ROM_LIST if rom.IMAGE_CHIP_ID}
        names[0] = "ESP32"
        name = names.get(chip_id, f"an unknown chip ({chip_id})")
        raise FirmwareError(
            f"{path} is for {name} and the chip is {chip.CHIP_NAME}; nothing was erased"
        )
    table = PARTITION_TABLE - chip.BOOTLOADER_FLASH_OFFSET
    if not image.startswith(PARTITION_MAGIC, table):
        raise FirmwareError(
            f"{path} has no partition table: it holds only a part of a firmware (an .app-bin?); "
            "take the .bin file; nothing was erased"
        )


def _write(chip: ESPLoader, image: bytes, baud: int, stub: bool, report: Report) -> None:
    if stub:
        chip = cmds.run_stub(chip)
    if baud != chip.ESP_ROM_BAUD:
        chip.change_baud(baud)
    cmds.attach_flash(chip)
    offset = chip.BOOTLOADER_FLASH_OFFSET
    report("erase", 0, None)
    cmds.write_flash(chip, [(offset, image)], erase_all=chip.IS_STUB)  # verifies by MD5
    if not chip.IS_STUB:
        # The ROM has no command that erases a chip, but it erases where a write is to begin
        sector = chip.FLASH_SECTOR_SIZE
        end = -(-(offset + len(image)) // sector) * sector
        chip.flash_begin(flash_size_bytes(cmds.detect_flash_size(chip)) - end, end)
    cmds.reset_chip(chip)


def _wait_for_repl(port: str, firmware: Path) -> BoardInfo:
    with _first_answer(port) as board:
        version = tuple(int(n) for n in board.info.version.split(".")[:2])
        if board.info.implementation != "micropython" or version < OLDEST:
            raise FirmwareError(
                f"{firmware} holds {board.info.implementation} {board.info.version}; attn8 needs "
                f"MicroPython {OLDEST[0]}.{OLDEST[1]} or newer"
            )
        board.require_viper()
        return board.info


def _first_answer(port: str) -> Board:
    deadline = time.monotonic() + REPL_SECONDS
    while True:
        try:
            return Board(port, baud=BAUD)
        except BoardError:
            # Still starting; a port of the chip's own USB vanishes and comes back meanwhile
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@contextlib.contextmanager
def _esptool(port: str, report: Report) -> Iterator[None]:
    """Takes esptool's progress and makes one line of its errors."""
    LOGGER.report = report
    try:
        yield
    except (FatalError, OSError) as error:
        line = str(error).strip().splitlines()[0].rstrip(".")
        if line.startswith("Could not open"):
            raise BoardError(why_closed(port)) from None
        if line.startswith("Failed to connect"):
            line += "; hold BOOT while you reset or plug in the chip and try again"
        raise BoardError(f"flashing {port} failed: {line}") from None


class Logger(TemplateLogger):
    """esptool's logger: its bars go to `report`, its messages nowhere."""

    report: Report

    def progress_bar(self, cur_iter, total_iters, prefix="", suffix="", bar_length=30):
        self.report("write", cur_iter, total_iters)

    def print(self, *args, **kwargs):
        if args and str(args[0]).startswith("Verifying"):
            self.report("verify", 0, None)

    def note(self, message):
        pass

    def warning(self, message):
        pass

    def error(self, message):
        pass

    def stage(self, finish=False):
        pass

    def set_verbosity(self, verbosity):
        pass


LOGGER = Logger()
log.set_logger(LOGGER)  # esptool has one a process
