"""Boards: the virtual one and those on serial ports."""

import os

from ..errors import BoardError
from .board import BAUD, Board, BoardInfo
from .discovery import find_boards

__all__ = ["BAUD", "Board", "BoardInfo", "find_boards", "open_board"]


def open_board(spec: str | None = None, baud: int = BAUD) -> Board:
    """Opens a board.

    Args:
        spec: "auto" (a connected chip, else the virtual board), "virtual", a port, a pyserial URL;
            by default the environment's ATTN8_BOARD, else "auto".
        baud: of a serial line.

    Raises:
        BoardError: there is no such board, or it cannot be used.
    """
    spec = spec or os.environ.get("ATTN8_BOARD") or "auto"
    if spec == "auto":
        ports = find_boards()
        if len(ports) > 1:
            names = ", ".join(port.device for port in ports)
            raise BoardError(f"several boards are connected: {names}; choose one with --board")
        spec = ports[0].device if ports else "virtual"
    if spec == "virtual":
        from .virtual import open_virtual

        return open_virtual()
    if not spec.startswith(("/", "socket://", "rfc2217://")) and not spec.upper().startswith("COM"):
        raise BoardError(
            f"no such board: {spec}; expected auto, virtual, a serial port such as /dev/ttyUSB0 or "
            "COM3, socket://HOST:PORT or rfc2217://HOST:PORT"
        )
    return Board(spec, baud=baud)
