"""RV32IM with compressed instructions: ESP32-C3, C6 and others."""

from ...boards import BoardInfo
from ..mpy import Rv32Function

ARCH = ISA = "rv32imc"
FUNCTION = Rv32Function
NEEDS = "an ESP32-C3 or C6"
EXPERIMENTAL = False


def runs_on(info: BoardInfo) -> bool:
    return info.arch == ARCH
