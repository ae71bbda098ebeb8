"""What tells ESP32 and ESP32-S3 from ESP32-S2, which has the same architecture name."""

from ..mpy import XtensaFunction
from ..xtensa import CONFIGID0


def configid0(a: XtensaFunction) -> None:
    """The processor's configuration number. Reading it is safe on every chip."""
    a.rsr(2, CONFIGID0)
