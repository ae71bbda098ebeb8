"""A port on which nothing is waited for without end, whoever reads."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from mpremote.transport import TransportError

WRITE_SECONDS = 10  # in which a board that takes nothing must take what is written


class Limit:
    """Ends the reads of a port at a time of day: mpremote's own limits start anew at each byte.

    Args:
        port: an open pyserial object; its `read` changes.
    """

    def __init__(self, port: Any):
        self._end = math.inf
        self._read = port.read
        port.read = self._limited
        with contextlib.suppress(NotImplementedError):  # rfc2217:// waits as its other end does
            port.write_timeout = WRITE_SECONDS

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Gives what is done in the block so many seconds.

        Raises:
            TransportError: they are over and the port is still read.
        """
        before, self._end = self._end, time.monotonic() + seconds
        try:
            yield
        finally:
            self._end = before

    def extend(self, seconds: float) -> None:
        """Gives what is done as many more seconds from now on: it has got further."""
        self._end = time.monotonic() + seconds

    def _limited(self, size: int = 1) -> bytes:
        if time.monotonic() > self._end:
            raise TransportError("it says no end of something else")
        data: bytes = self._read(size)
        return data
