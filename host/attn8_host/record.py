"""Labelled windows of what a board's sensor gives, as `attn8 record` collects them."""

import ast
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .boards import Board
from .errors import Attn8Error, BoardError
from .paths import require_file

SILENCE = 10  # seconds that a sensor may take for a sample

# A driver stands before it: a class Sensor with `channels` and read(sample), as in examples/stream.
# Prints a line a sample, and at the end how many came a period late or more
RECORD = """
import time
from array import array
sensor = Sensor()
def record(channels, period, samples):
    if sensor.channels != channels:
        raise ValueError("the sensor has %d channels, not %d" % (sensor.channels, channels))
    sample = array("i", bytes(4 * channels))
    late = 0
    due = time.ticks_us()
    while samples:
        wait = time.ticks_diff(due, time.ticks_us())
        if wait > 0:
            time.sleep_us(wait)
        elif wait < -period:
            late += 1
            due = time.ticks_us()
        if not sensor.read(sample):
            raise ValueError("the sensor has no more samples")
        print(*sample)
        due = time.ticks_add(due, period)
        samples -= 1
    print("late", late)
"""


def source(driver: Path) -> str:
    """A driver's text.

    Raises:
        Attn8Error: the file is no Python with a class Sensor that needs no arguments.
    """
    require_file(driver, Attn8Error)
    try:
        text = driver.read_text(encoding="utf-8")
        made = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    except OSError as error:
        raise Attn8Error(f"{driver}: {os.strerror(error.errno or 0)}") from None
    except (UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise Attn8Error(f"{driver}: {error}") from None
    if "Sensor" not in made:
        raise Attn8Error(f"{driver}: expected a class Sensor with `channels` and read(sample), as "
                         "in examples/stream")
    if asked := _asked(made["Sensor"]):
        raise Attn8Error(f"{driver}: a Sensor needs {', '.join(asked)}, and is made without; give "
                         "them defaults")
    return text


def _asked(kind: ast.ClassDef) -> list[str]:
    """The arguments that a class cannot be made without."""
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            given = node.args.args[1:]  # but self
            return [arg.arg for arg in given[: len(given) - len(node.args.defaults)]]
    return []


def prepare(board: Board, driver: str) -> None:
    """Runs a driver's text on a board, which writes nothing there.

    Raises:
        RemoteError: the board cannot run it.
    """
    board.enter_repl()
    board.execute(driver + RECORD)


def record(
    board: Board, channels: int, rate: int, samples: int,
    progress: Callable[[np.ndarray], None] | None = None,
) -> tuple[np.ndarray, int]:
    """Reads the sensor of a board that is prepared.

    Args:
        channels: values of a sample.
        rate: samples a second.
        samples: how many.
        progress: gets each sample, int32 [channels], when it came.

    Returns:
        int32 [samples, channels], and how many of them came a period late or more.

    Raises:
        RemoteError: the sensor fails, has other channels, or gives no more samples.
        BoardError: the board prints what is no sample.
    """
    found: list[np.ndarray] = []
    late: list[int] = []
    pattern = re.compile(rf"-?\d{{1,10}}( -?\d{{1,10}}){{{channels - 1}}}", re.A)

    def line(said: str) -> None:
        if end := re.fullmatch(r"late (\d{1,9})", said):
            late.append(int(end[1]))
        elif pattern.fullmatch(said) and not late and len(found) < samples:
            values = [int(value) for value in said.split()]
            if not -(1 << 31) <= min(values) <= max(values) < 1 << 31:
                raise BoardError(f"the sensor gives what is no number of 32 bits: {said}")
            found.append(np.array(values, np.int32))
            if progress:
                progress(found[-1])
        else:
            raise BoardError(f"expected {channels} whole numbers, the board said: {said[:60]!r}")

    board.follow(f"record({channels}, {1_000_000 // rate}, {samples})", line, SILENCE)
    if len(found) != samples or len(late) != 1:
        raise BoardError(f"expected {samples} samples, got {len(found)}")
    return np.array(found), late[0]


def windows(
    recordings: Sequence[np.ndarray], window: int, hop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows of each label's recording, none of which has samples of two.

    Args:
        recordings: int32 [samples, channels] of each label.
        window, hop: samples of a window, and from the start of one to that of the next.

    Returns:
        float32 [windows, window, channels], int64 [windows].
    """
    found, labels = [], []
    for label, x in enumerate(recordings):
        for start in range(0, len(x) - window + 1, hop):
            found.append(x[start : start + window])
            labels.append(label)
    return np.array(found, np.float32), np.array(labels, np.int64)


def write(path: Path, inputs: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """A .npz of windows, their labels, and what these are called."""
    with path.open("wb") as file:
        np.savez_compressed(file, inputs=inputs, labels=labels, names=np.array(names))
