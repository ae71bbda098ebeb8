"""LX7 without MAC16 and without zero-overhead loops: ESP32-S2."""

from ...boards import BoardInfo
from ..mpy import S2Function
from . import xtensa
from .xtensa import configid0

__all__ = ["ARCH", "EXPERIMENTAL", "FUNCTION", "ISA", "NEEDS", "configid0", "runs_on"]

ARCH = xtensa.ARCH
ISA = "esp32s2"
FUNCTION = S2Function
NEEDS = "an ESP32-S2"
EXPERIMENTAL = False


def runs_on(info: BoardInfo) -> bool:
    return info.arch == ARCH and xtensa.chip(info) == "ESP32S2"
