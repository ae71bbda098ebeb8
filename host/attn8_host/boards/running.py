"""The virtual boards that `attn8 boards start virtual` keeps up, for `attn8 boards` to list."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def _folder() -> Path:
    """Of this user: a file for each board, named after the process that keeps it, with its port."""
    return Path(tempfile.gettempdir()) / f"attn8-boards-{os.getuid()}"


@contextlib.contextmanager
def listed(port: str) -> Iterator[None]:
    """Lists a board's port as long as the context lasts, and this process."""
    _folder().mkdir(mode=0o700, exist_ok=True)
    entry = _folder() / str(os.getpid())
    entry.write_text(port, encoding="utf-8")
    try:
        yield
    finally:
        entry.unlink(missing_ok=True)


def running() -> list[str]:
    """The ports of those that run, sorted."""
    ports: list[str] = []
    if sys.platform == "win32":  # there are none
        return ports
    if _folder().is_dir() and _folder().stat().st_uid == os.getuid():
        for entry in _folder().iterdir():
            try:
                os.kill(int(entry.name), 0)  # is there such a process?
                ports.append(entry.read_text(encoding="utf-8"))
            except ProcessLookupError:  # it was killed
                entry.unlink(missing_ok=True)
            except (ValueError, OSError):  # no entry, another user's process, or just gone
                continue
    return sorted(ports)
