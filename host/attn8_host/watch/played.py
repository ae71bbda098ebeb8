"""A recorded signal, window by window, that a board computes: without a sensor."""

import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from .. import inputs
from ..boards import Board
from ..errors import LinkError, RemoteError
from ..link import Client
from ..link.protocol import OUTPUTS
from ..link.replies import Output
from ..model import Model
from .results import Result, Shown

HEAP_SECONDS = 1.0  # from one look at the heap, which collects, to the next


@dataclass
class Recording:
    """Windows.

    Attributes:
        values: numbers [n, *input shape], as the sensor gave them.
        lengths: how many tokens of each count; None: all.
        labels: classes [n], where they are known.
        names: of the classes, where they are known.
    """

    values: np.ndarray
    lengths: list[int | None]
    labels: np.ndarray | None = None
    names: list[str] | None = None


def read(path: Path, model: Model) -> Recording:
    """A file as `attn8 record` writes: an array inputs and, where they are there, labels, names and
    lengths.

    Raises:
        ModelError: the file cannot be read, or does not fit the model.
    """
    values = inputs.read(path, model.config)
    recording = Recording(values, [None] * len(values))
    found = inputs.arrays(path)
    if "labels" in found:
        recording.labels = inputs.read_labels(path, len(values), model.output_size)
    if "lengths" in found:
        recording.lengths = inputs.read_lengths(path, model.config, len(values))
    recording.names = inputs.read_names(path)
    return recording


def play(
    board: Board, target: str, most: int | None, take: Callable[[Result], None], *,
    shown: Shown, recording: Recording, speed: float, keep: bool,
) -> None:
    """Has a board compute one window after another, over and over.

    Args:
        board: that has the package and the model.
        target: the model's path there.
        most: results after which it ends; None: it goes on.
        take: gets each result.
        shown: what the model's tensors mean.
        recording: what is played.
        speed: windows a second.
        keep: whether the board keeps attention weights; where it has no memory for them, NumPy
            computes them.

    Raises:
        LinkError: the board was lost, or its results are not NumPy's.
        RemoteError: it cannot run the model.
    """
    model = shown.model
    channels = model.config["input"]["shape"][-1]
    fed = inputs.integers(recording.values, model)
    labels = [None] * len(fed) if recording.labels is None else recording.labels.tolist()
    with board.serve() as client:
        keep = load(client, target, keep)
        wanted = shown.tensors if keep else [model.output]
        due = looked = time.monotonic()
        free, used = client.heap()
        windows = zip(fed, recording.values, recording.lengths, labels, strict=True)
        for x, signal, length, label in islice(cycle(windows), most):
            microseconds = client.run(x.tobytes(), length=length)
            found = read_tensors(client, wanted)
            tensors = found if keep else model(x.ravel(), length)
            if not keep and (tensors[model.output].ravel() != found[model.output]).any():
                raise LinkError("the board's results are not those of NumPy; deploy again")
            if time.monotonic() - looked > HEAP_SECONDS:
                free, used = client.heap()
                looked = time.monotonic()
            rows = signal.reshape(-1, channels)[:length]
            take(Result(rows, shown.probabilities(found), shown.maps(tensors), microseconds,
                        (used, free + used), keep, length, label))
            due = max(due + 1 / speed, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


def read_tensors(client: Client, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Some tensors of the inference that a board has just done, flat.

    Args:
        client: of a board that keeps them until the next one.
        wanted: their names.

    Raises:
        LinkError: the board has no such tensor, or what came does not have the CRC-32 that it
            computed.
    """
    size = sum(output.nbytes for output in client.outputs)
    crcs = np.frombuffer(client.read(OUTPUTS, 4 * len(client.outputs), size), "<u4")
    found: dict[str, np.ndarray] = {}
    end = 0
    parts: list[tuple[int, list[Output]]] = []  # what lies behind one another, and where it begins
    for output in client.outputs:
        start, end = end, end + output.nbytes
        if output.name in wanted:
            if parts and parts[-1][0] + sum(each.nbytes for each in parts[-1][1]) == start:
                parts[-1][1].append(output)
            else:
                parts.append((start, [output]))
    for start, outputs in parts:
        values = client.read(OUTPUTS, sum(output.nbytes for output in outputs), start)
        at = 0
        for output in outputs:
            found[output.name] = np.frombuffer(values, output.dtype, output.size, at)
            at += output.nbytes
    for output, crc in zip(client.outputs, crcs, strict=True):
        if output.name in found and zlib.crc32(found[output.name].tobytes()) != crc:
            raise LinkError(f"{output.name} does not have the CRC-32 that the board computed")
    if len(found) != len({*wanted}):
        raise LinkError("the board runs another model")
    return found


def load(client: Client, target: str, keep: bool) -> bool:
    """Loads a model, with its attention weights if there is memory for them; whether there is."""
    if keep:
        try:
            client.load(target, True)
            return True
        except RemoteError as error:
            if error.kind != "MemoryError":
                raise
    client.load(target, False)
    return False
