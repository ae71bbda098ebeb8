"""Which register sets the rate of a board's line: the link uses it to negotiate a faster one."""

from serial.tools import list_ports

RATES = (921600, 460800, 230400)  # to try, in this order
# On these a write to the divider is all that it takes; later chips latch it with another register
CHIPS = ("esp32", "esp32s2", "esp32s3", "esp32c3")
ESPRESSIF = 0x303A  # USB vendor: the chip's own USB, whose speed no UART sets


def clkdiv(machine: str, port: str) -> int | None:
    """The address of the clock divider of the UART behind a port, if it is known.

    Args:
        machine: what the board says that it is; its last word names the chip.
        port: what pyserial opened.
    """
    chip = machine.split()[-1].lower()
    if chip not in CHIPS:
        return None
    ports = {info.device: info.vid for info in list_ports.comports()}
    if ports.get(port) == ESPRESSIF:
        return None
    from esptool.targets import CHIP_DEFS

    address: int = CHIP_DEFS[chip].UART_CLKDIV_REG
    return address
