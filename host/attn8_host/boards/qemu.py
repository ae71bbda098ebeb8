"""A chip in Espressif's QEMU, running a MicroPython firmware file: `--board qemu`."""

import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import BoardError
from .board import Board, first_answer
from .firmware import Firmware

START_SECONDS = 60  # to the first prompt, which comes after the file system is made
# For a piece of work on its file system: littlefs reads all folders where it looks for free blocks,
# and each read takes milliseconds here
FLASH_SECONDS = 600
FLASH_SIZE = 4 << 20  # bytes


@dataclass
class Machine:
    """How QEMU is started as one chip."""

    program: str
    name: str
    options: tuple[str, ...] = ()


MACHINES = {
    # Counted instructions of 32 ns: at each read of the flash one core waits out the other's share
    # of time, which is fewer of them than at a chip's pace; without, both wait for the computer
    "ESP32": Machine("qemu-system-xtensa", "esp32", ("-icount", "5")),
    # Counted instructions: otherwise Ctrl-C does not reach a tight loop
    "ESP32-C3": Machine("qemu-system-riscv32", "esp32c3", ("-icount", "3")),
}


def open_qemu(firmware: Path | None = None) -> Board:
    """Starts QEMU and opens its board, which ends when it is closed.

    The emulator is Espressif's, from PATH or from ATTN8_QEMU (the program, or its folder).

    Args:
        firmware: a MicroPython .bin for ESP32 or ESP32-C3; by default ATTN8_FIRMWARE names it.

    Raises:
        FirmwareError: that is no firmware.
        BoardError: it is for a chip that QEMU lacks, there is no QEMU, or nothing answers in it.
    """
    firmware = firmware or Path(os.environ.get("ATTN8_FIRMWARE", ""))
    if firmware == Path():
        raise BoardError(
            "--board qemu needs a MicroPython .bin for ESP32 or ESP32-C3 (micropython.org/"
            "download): give it with --firmware or ATTN8_FIRMWARE"
        )
    file = Firmware.read(firmware)
    if file.chip not in MACHINES:
        raise BoardError(f"{firmware} is for {file.chip}; QEMU emulates {' and '.join(MACHINES)}")
    machine = MACHINES[file.chip]
    emulator = Emulator(_find(machine.program), machine, file)
    try:
        return first_answer(
            lambda: Board(emulator.url, kind="qemu", close=emulator.stop,
                          flash_seconds=FLASH_SECONDS),
            START_SECONDS,
            alive=lambda: emulator.process.poll() is None,
        )
    except BaseException as error:
        said = emulator.last_words()
        emulator.stop()
        if said and isinstance(error, BoardError):
            raise BoardError(said) from None
        raise


class Emulator:
    """A QEMU process; `url` is its serial port.

    Args:
        program: QEMU's path.
        machine: the chip.
        firmware: what its flash holds.
    """

    def __init__(self, program: str, machine: Machine, firmware: Firmware):
        self.folder = tempfile.TemporaryDirectory(prefix="attn8-qemu-")
        flash = Path(self.folder.name) / "flash.bin"
        image = b"\xff" * firmware.offset + firmware.image
        flash.write_bytes(image.ljust(FLASH_SIZE, b"\xff"))
        self.log = (Path(self.folder.name) / "log").open("w+b")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"socket://127.0.0.1:{listener.getsockname()[1]}"
            serial = f"socket,id=uart,fd={listener.fileno()},server=on,wait=off"
            command = [program, "-machine", machine.name, *machine.options]
            command += ["-display", "none", "-monitor", "none", "-nic", "none"]
            command += ["-drive", f"file={flash},if=mtd,format=raw"]
            # Time passes unevenly here; the watchdog would bite
            watchdog = f"driver=timer.{machine.name}.timg,property=wdt_disable,value=true"
            command += ["-global", watchdog, "-chardev", serial, "-serial", "chardev:uart"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the board, not for the emulator
            )

    def last_words(self) -> str | None:
        """What QEMU said, if it ended by itself."""
        if self.process.poll() is None:
            return None
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()
        return f"QEMU ended: {lines[-1] if lines else 'without a word'}"

    def stop(self) -> None:
        """Ends the emulator; its flash is gone with it."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


def _find(program: str) -> str:
    named = os.environ.get("ATTN8_QEMU", "")
    found = shutil.which(named) or shutil.which(program, path=named or None)
    if found is None:
        where = f"ATTN8_QEMU ({named})" if named else "PATH"
        raise BoardError(
            f"no {program} in {where}; get Espressif's QEMU at github.com/espressif/qemu/releases "
            "and put it in PATH or its folder in ATTN8_QEMU"
        )
    return found
