"""Finds boards on the USB ports, and the ports that names stand for."""

import os
import re

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from ..errors import BoardError

# Vendors of what ESP32 boards show on USB: Espressif itself and the makers of the UART bridges
VENDORS = {
    0x303A: "Espressif",
    0x10C4: "Silicon Labs CP210x",
    0x1A86: "WCH CH340/CH910x",
    0x0403: "FTDI",
}

SHORTCUT = re.compile(r"([auc])(\d+)")  # mpremote's
SHORTCUT_PORTS = {"a": "/dev/ttyACM", "u": "/dev/ttyUSB", "c": "COM"}
WINDOWS = re.compile(r"(?i)(?:\\\\\.\\)?(COM\d+)")  # as listed, or as a file


def find_boards() -> list[ListPortInfo]:
    """The serial ports that an ESP32 board may be behind, sorted by name."""
    return sorted(port for port in list_ports.comports() if port.vid in VENDORS)


def port_of(name: str) -> str:
    """The port that a shortcut (a0, u0, c1), id:SERIAL, a port or a pyserial URL stands for.

    Raises:
        BoardError: it is none of these, or no port has that serial number.
    """
    if shortcut := SHORTCUT.fullmatch(name):
        return SHORTCUT_PORTS[shortcut[1]] + shortcut[2]
    if name.startswith("id:"):
        ports: dict[str | None, str] = {
            port.serial_number: port.device for port in list_ports.comports()
        }
        if name[3:] not in ports:
            there = ", ".join(f"id:{number}" for number in ports if number) or "none"
            raise BoardError(f"no board with serial number {name[3:]}; there are: {there}")
        return ports[name[3:]]
    if windows := WINDOWS.fullmatch(name):
        return windows[1].upper()  # as it is listed; pyserial opens any number of it
    if name.startswith(("/", "socket://", "rfc2217://")):
        return name
    raise BoardError(
        f"no such board: {name}; expected auto, virtual, qemu, a serial port such as /dev/ttyUSB0 "
        "or COM3, a0, u0, c1, id:SERIAL, socket://HOST:PORT or rfc2217://HOST:PORT"
    )


def present(port: str) -> bool:
    """Whether there is such a port on this computer."""
    if WINDOWS.fullmatch(port):
        return any(info.device == port for info in list_ports.comports())
    return os.path.exists(port)


def serial_number(port: str) -> str | None:
    """That of the USB device behind a port, if it has one."""
    return next((info.serial_number for info in list_ports.comports() if info.device == port), None)


def followed(port: str, number: str | None) -> str:
    """The port of a board that has been reset: a chip's own USB may come back under another name.

    Args:
        port: what it was.
        number: its serial number; None where it has none, and keeps its port.
    """
    if number is None:
        return port
    now = [info.device for info in list_ports.comports() if info.serial_number == number]
    return port if port in now or not now else now[0]
