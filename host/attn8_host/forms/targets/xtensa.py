"""LX6 and LX7 with MAC16 and zero-overhead loops: ESP32 and ESP32-S3."""

from ...boards import BoardInfo
from ..mpy import XtensaFunction
from ..xtensa import CONFIGID0

ARCH = ISA = "xtensawin"
FUNCTION = XtensaFunction
NEEDS = "an ESP32 or ESP32-S3"
EXPERIMENTAL = False
CHIPS = ("ESP32", "ESP32S3")  # ESP32-S2 has neither


def runs_on(info: BoardInfo) -> bool:
    return info.arch == ARCH and chip(info) in CHIPS


def chip(info: BoardInfo) -> str:
    """The chip's name, which ends what a board says of itself."""
    return info.machine.split()[-1]


def configid0(a: XtensaFunction) -> None:
    """The processor's configuration number, which tells the chips of one architecture name apart.
    Reading it is safe on all of them.
    """
    a.rsr(2, CONFIGID0)
