"""`attn8 record`: labelled windows of a board's sensor, for training and calibration."""

import argparse
import re
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text

from ..errors import Attn8Error
from ..terminal import bars
from .parser import Command, Parser
from .shared import add_board, below, opened

if TYPE_CHECKING:
    import numpy as np

    from ..boards import Board

SHOWN = 60  # samples of each channel on the screen
FRAMES = 8  # of the picture, a second


def labels(text: str) -> list[str]:
    """Names between commas."""
    names = text.split(",")
    if not all(re.fullmatch(r"[\w-]{1,40}", name) for name in names) or len({*names}) < len(names):
        raise argparse.ArgumentTypeError(
            f"expected different names of letters, digits, - and _ between commas, got {text!r}")
    return names


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("--sensor", type=Path, metavar="FILE.py", required=True,
                        help="the driver, a class Sensor as in examples/stream")
    parser.add_argument("--channels", type=below(1000), required=True, help="values of a sample")
    parser.add_argument("--rate", type=below(1000), required=True, help="samples a second")
    parser.add_argument("--labels", type=labels, required=True,
                        help="what to record, one after another, such as rest,wave")
    parser.add_argument("--seconds", type=below(86400), default=20,
                        help="of each label (default: %(default)s)")
    parser.add_argument("--window", type=below(100_000), default=50,
                        help="samples of a window (default: %(default)s)")
    parser.add_argument("--hop", type=below(100_000), default=10,
                        help="samples from one window to the next (default: %(default)s)")
    parser.add_argument("--wait", type=below(3600, 0), default=3,
                        help="seconds before each label (default: %(default)s)")
    parser.add_output("--output", "the .npz to write: inputs, labels and their names",
                      required=True)


def signal(samples: Sequence["np.ndarray"]) -> RenderableType:
    """The last samples, a line a channel."""
    rows = zip(*(sample.tolist() for sample in samples), strict=True)
    return Group(*(Text(f"{c:3} {row[-1]:>14,} {bars(row)}", no_wrap=True)
                   for c, row in enumerate(rows)))


def collect(
    board: "Board", arguments: argparse.Namespace, label: str, console: Console
) -> "np.ndarray":
    """Waits, then records one label and shows it; int32 [samples, channels]."""
    from rich.live import Live

    from ..record import record

    for left in range(arguments.wait, 0, -1):
        console.print(f"{label} in {left} s")
        time.sleep(1)
    count = arguments.rate * arguments.seconds
    bar = Progress(console=console)
    task = bar.add_task(label, total=count)
    shown: deque[np.ndarray] = deque(maxlen=SHOWN)
    with Live(bar, console=console, refresh_per_second=FRAMES) as live:

        def progress(sample: "np.ndarray") -> None:
            shown.append(sample)
            bar.advance(task)
            live.update(Group(bar, signal(shown)))

        samples, late = record(board, arguments.channels, arguments.rate, count, progress)
    if not console.is_terminal:  # where rich does not
        console.line()
    if late:
        console.print(f"{label}: {late} of {count} samples came a period late or more: the sensor "
                      "is slower than --rate, or the line is")
    return samples


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..record import prepare, source, windows, write

    if arguments.rate * arguments.seconds < arguments.window:
        raise Attn8Error(f"--window: {arguments.window} samples take more than --seconds "
                         f"{arguments.seconds} at --rate {arguments.rate}; give fewer")
    driver = source(arguments.sensor)
    with opened(arguments, console) as board:
        prepare(board, driver)
        recordings = [collect(board, arguments, each, console) for each in arguments.labels]
    x, y = windows(recordings, arguments.window, arguments.hop)
    write(arguments.output, x, y, arguments.labels)
    per = ", ".join(f"{name} {int((y == i).sum())}" for i, name in enumerate(arguments.labels))
    console.print(f"{len(x)} windows of {arguments.window} samples of {arguments.channels} in "
                  f"{arguments.output} ({per})", highlight=False, soft_wrap=True)
    return 0


COMMAND = Command("record labelled windows of a board's sensor", options, run, place=3.5)
