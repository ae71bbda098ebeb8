"""Boards: the virtual one and those on serial ports."""

import os
from pathlib import Path

from ..errors import Attn8Error, BoardError
from .board import BAUD, Board, BoardInfo
from .discovery import find_boards, port_of

__all__ = ["BAUD", "Board", "BoardInfo", "find_boards", "open_board", "resolve"]


def open_board(
    spec: str | None = None, baud: int | None = None, firmware: Path | None = None,
    heap: str | None = None,
) -> Board:
    """Opens a board.

    Args:
        spec: "auto" (a connected chip, else the virtual board), "virtual", a port, a pyserial URL,
            one of mpremote's shortcuts (a0, u0, c1), id:SERIAL or "qemu"; by default the
            environment's ATTN8_BOARD, else "auto".
        baud: of a serial line; by default the environment's ATTN8_BAUD, else 115200 and a faster
            one for the link where the board can change it.
        firmware: what "qemu" runs; by default the environment's ATTN8_FIRMWARE.
        heap: of the virtual board, as MicroPython's `-X heapsize=` has it, where an ESP32's is too
            small.

    Raises:
        Attn8Error: this board would ignore the rate or the firmware.
        BoardError: there is no such board, or it cannot be used.
    """
    port = resolve(spec)
    if baud and port in ("virtual", "qemu"):
        raise Attn8Error(f"--baud: the board is {port}, without a serial line; leave it out")
    if firmware and port != "qemu":
        raise Attn8Error(f"--firmware: the board is {port}, and only qemu runs it; leave it out")
    if port == "virtual":
        from .virtual import open_virtual

        return open_virtual(heap)
    if port == "qemu":
        from .qemu import open_qemu

        return open_qemu(firmware)
    return Board(port, baud=baud or _default_baud())


def resolve(spec: str | None = None) -> str:
    """What a board's name stands for: "virtual", "qemu", or a port that pyserial opens.

    Raises:
        BoardError: it stands for nothing, or for several.
    """
    spec = spec or os.environ.get("ATTN8_BOARD") or "auto"
    if spec == "auto":
        ports = find_boards()
        if len(ports) > 1:
            names = ", ".join(port.device for port in ports)
            raise BoardError(f"several boards are connected: {names}; choose one with --board")
        return ports[0].device if ports else "virtual"
    if spec in ("virtual", "qemu"):
        return spec
    return port_of(spec)


def _default_baud() -> int | None:
    text = os.environ.get("ATTN8_BAUD")
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise BoardError(f"ATTN8_BAUD is {text!r}; expected a baud rate such as {BAUD}")
    return int(text)
