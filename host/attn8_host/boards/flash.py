"""`attn8 flash`: stock MicroPython onto a chip, through esptool."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from esptool import cmds
from esptool.loader import ESPLoader
from esptool.logger import TemplateLogger, log
from esptool.util import FatalError, flash_size_bytes

from ..errors import BoardError, FirmwareError
from .board import Board, BoardInfo, first_answer, why_closed
from .discovery import followed, serial_number
from .firmware import Firmware

FLASH_BAUD = 460800  # while writing; MicroPython's own instructions use it
OLDEST = (1, 23)  # MicroPython that attn8 runs on
FILES = 64 << 10  # bytes that are left to the file system at least
REPL_SECONDS = 30  # a first start makes the file system

Report = Callable[[str, int, int | None], None]  # phase, bytes done, bytes in all if known


def flash(
    port: str,
    firmware: Path,
    baud: int = FLASH_BAUD,
    stub: bool = True,
    report: Report = lambda phase, done, total: None,
    data: int = 0,
) -> BoardInfo:
    """Erases a chip, writes a MicroPython firmware, verifies it and waits for its REPL.

    Args:
        port: a serial port or a pyserial URL. On `socket://`, which carries no reset lines, the
            chip must wait in its download mode.
        firmware: a .bin of micropython.org for this chip.
        baud: of the line while writing; the ROM is met at 115200.
        stub: let esptool run its faster flasher on the chip in place of the ROM's own.
        report: told what is being done.
        data: bytes of a data partition "attn8" that is added to the firmware's, 0 for none.

    Returns:
        What the board then says that it is.

    Raises:
        FirmwareError: the file is no firmware, or one for another chip; nothing was erased.
        BoardError: the chip does not answer, cannot be written, or does not start MicroPython.
    """
    if port in ("virtual", "qemu"):
        raise BoardError(f"no chip to flash: {port} has MicroPython already; give --board PORT")
    file = Firmware.read(firmware)
    if data:
        file = file.with_data("attn8", data)
    number = serial_number(port)
    with _esptool(port, report):
        report("connect", 0, None)
        chip = cmds.detect_chip(port)
        try:
            if file.chip != chip.CHIP_NAME:
                raise FirmwareError(
                    f"{firmware} is for {file.chip} and the chip is {chip.CHIP_NAME}; nothing was "
                    "erased"
                )
            _write(chip, file, baud, stub, report)
        finally:
            chip._port.close()
    report("start MicroPython", 0, None)
    return _wait_for_repl(port, number, firmware)


def _write(chip: ESPLoader, file: Firmware, baud: int, stub: bool, report: Report) -> None:
    if stub:
        chip = cmds.run_stub(chip)
    if baud != chip.ESP_ROM_BAUD:
        chip.change_baud(baud)
    cmds.attach_flash(chip)
    room = flash_size_bytes(cmds.detect_flash_size(chip)) if file.end else 0
    if file.end and file.end > room - FILES:
        raise FirmwareError(f"--data: the flash has {room:,} bytes, and the partition would end at "
                            f"{file.end:,}: {FILES:,} are for files; nothing was erased")
    report("erase", 0, None)
    cmds.write_flash(chip, [(file.offset, file.image)], erase_all=chip.IS_STUB)  # verifies by MD5
    if not chip.IS_STUB:
        # The ROM has no command that erases a chip, but it erases where a write is to begin
        sector = chip.FLASH_SECTOR_SIZE
        end = -(-(file.offset + len(file.image)) // sector) * sector
        chip.flash_begin(flash_size_bytes(cmds.detect_flash_size(chip)) - end, end)
    cmds.reset_chip(chip)


def _wait_for_repl(port: str, number: str | None, path: Path) -> BoardInfo:
    with first_answer(lambda: Board(followed(port, number)), REPL_SECONDS) as board:
        version = tuple(int(n) for n in board.info.version.split(".")[:2])
        if board.info.implementation != "micropython" or version < OLDEST:
            raise FirmwareError(
                f"{path} holds {board.info.implementation} {board.info.version}; attn8 needs "
                f"MicroPython {OLDEST[0]}.{OLDEST[1]} or newer"
            )
        board.require_viper()
        return board.info


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


class Logger(TemplateLogger):  # type: ignore[misc]  # esptool says no types
    """esptool's logger: its bars go to `report`, its messages nowhere."""

    report: Report

    def progress_bar(
        self, cur_iter: int, total_iters: int, prefix: str = "", suffix: str = "",
        bar_length: int = 30,
    ) -> None:
        self.report("write", cur_iter, total_iters)

    def print(self, *args: object, **kwargs: object) -> None:
        if args and str(args[0]).startswith("Verifying"):
            self.report("verify", 0, None)

    def note(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        pass

    def error(self, message: str) -> None:
        pass

    def stage(self, finish: bool = False) -> None:
        pass

    def set_verbosity(self, verbosity: str) -> None:
        pass


LOGGER = Logger()
log.set_logger(LOGGER)  # esptool has one a process
