"""`attn8 bench link`: bytes a second over the link, beside mpremote's `fs cp` on the same line."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ...boards import Board
from ...errors import LinkError
from ...link.protocol import SCRATCH

BAUDS = (115200, 460800, 921600)
SECONDS = 2.0  # for which each measurement is repeated
PATH = "/attn8-bench.bin"

Report = Callable[[str, int, int], None]  # what is measured, steps done, steps in all


@dataclass
class Result:
    """One direction at one rate; the keys of the JSON's `results`."""

    baud: int
    direction: str  # "to_board" or "from_board"
    bytes_per_s: float  # payload
    line_rate_fraction: float  # of baud / 10: a byte is ten bits on the line
    mpremote_bytes_per_s: float  # of fs cp
    payload_bytes: int
    frames_resent: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_link(board: Board, baud: int, size: int, report: Report) -> list[Result]:
    """Moves `size` random bytes both ways, over the link and with mpremote's file copy.

    Each is repeated for two seconds, and the fastest pass counts: what else the computer does can
    only slow one down. The board needs the attn8 package; `baud` is the rate of its line.

    Raises:
        LinkError: what came back differs from what was sent.
    """
    data = os.urandom(size)
    with board.serve() as client:
        client.reserve(size)
        report(f"{baud} baud: link", 0, 4)
        link = {"to_board": _best(lambda: client.write(SCRATCH, data))}
        report(f"{baud} baud: link", 1, 4)
        link["from_board"] = _best(lambda: client.read(SCRATCH, size), data)
    report(f"{baud} baud: mpremote", 2, 4)
    mpremote = {"to_board": _best(lambda: board.write_file(PATH, data))}
    report(f"{baud} baud: mpremote", 3, 4)
    mpremote["from_board"] = _best(lambda: board.read_file(PATH), data)
    board.execute(f"import os\nos.remove({PATH!r})")
    report(f"{baud} baud", 4, 4)
    return [
        Result(
            baud=baud,
            direction=direction,
            bytes_per_s=size / link[direction],
            line_rate_fraction=size / link[direction] / (baud / 10),
            mpremote_bytes_per_s=size / mpremote[direction],
            payload_bytes=size,
            frames_resent=client.statistics.resent,
        )
        for direction in link
    ]


def _best(action: Callable[[], object], expected: bytes | None = None) -> float:
    """Seconds that the fastest of several passes took."""
    fastest = None
    begun = time.monotonic()
    while fastest is None or time.monotonic() - begun < SECONDS:
        start = time.monotonic()
        given = action()
        seconds = time.monotonic() - start
        fastest = min(seconds, fastest or seconds)
        if expected is not None and given != expected:
            raise LinkError("the board gave back other bytes than it got")
    return fastest
