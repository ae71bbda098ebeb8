"""Ctrl-C while something must not be left half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block has ended.

    Raises:
        KeyboardInterrupt: at the end, if it came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets it
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt
