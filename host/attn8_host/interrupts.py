"""Signals that end a command: where, and where not, so that nothing is left half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What ends a process that does not know better, and with it nothing that it has started
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _main() -> bool:
    """Whether this thread is the one that gets signals."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def ended_whole() -> Iterator[None]:
    """Has the signals of ENDS leave the block as SystemExit does: what is open is closed.

    The exit status is 128 and the signal's number, as a shell says it. Signals that are ignored, or
    that whoever calls this takes, are left to that.
    """
    taken = [number for number in ENDS if _main() and signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, _: FrameType | None) -> None:
        for each in taken:  # a second one must not cut off what closes
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C, and what `ended_whole` takes, back until the block has ended.

    Raises:
        KeyboardInterrupt, SystemExit: at the end, if one came meanwhile.
    """
    held: list[int] = []
    before = {}
    for number in [signal.SIGINT, *ENDS] if _main() else []:
        handler = signal.getsignal(number)
        if callable(handler):  # it is not ignored, as by a job behind a `&`
            before[number] = handler
            signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            before[signal.Signals(held[0])](held[0], None)
