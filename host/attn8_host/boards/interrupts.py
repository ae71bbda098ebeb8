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
    main = threading.current_thread() is threading.main_thread()  # only it gets Ctrl-C
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a job behind a `&`
        yield
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt
