"""The vector instructions of ESP32-S3."""

from ...boards import BoardInfo
from ..mpy import XtensaFunction
from . import xtensa
from .xtensa import configid0

__all__ = ["ARCH", "EXPERIMENTAL", "FUNCTION", "ISA", "NEEDS", "configid0", "runs_on"]

ARCH, ISA = xtensa.ARCH, xtensa.ISA
FUNCTION = XtensaFunction
NEEDS = "an ESP32-S3"
EXPERIMENTAL = True


def runs_on(info: BoardInfo) -> bool:
    return info.arch == ARCH and xtensa.chip(info) == "ESP32S3"
