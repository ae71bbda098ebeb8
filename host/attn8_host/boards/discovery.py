"""Finds boards on the USB ports."""

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

# Vendors of what ESP32 boards show on USB: Espressif itself and the makers of the UART bridges
VENDORS = {
    0x303A: "Espressif",
    0x10C4: "Silicon Labs CP210x",
    0x1A86: "WCH CH340/CH910x",
    0x0403: "FTDI",
}


def find_boards() -> list[ListPortInfo]:
    """The serial ports that an ESP32 board may be behind, sorted by name."""
    return sorted(port for port in list_ports.comports() if port.vid in VENDORS)
