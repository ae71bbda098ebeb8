"""A recorded signal, window by window, that a board computes: without a sensor."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from .. import inputs
from ..boards import Board
from ..errors import ModelError, RemoteError
from ..link import Client
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
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            if "labels" in file:
                recording.labels = inputs.read_labels(path, len(values), model.output_size)
            if "lengths" in file:
                recording.lengths = inputs.read_lengths(path, model.config, len(values))
            if "names" in file:
                names = file["names"]
                if names.dtype.kind != "U" or names.ndim != 1:
                    raise ModelError(f"{path}: names: expected texts, got {names.dtype} "
                                     f"{list(names.shape)}")
                recording.names = names.tolist()
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
        LinkError: the board was lost.
        RemoteError: it cannot run the model.
    """
    model = shown.model
    channels = model.config["input"]["shape"][-1]
    fed = inputs.integers(recording.values, model)
    labels = [None] * len(fed) if recording.labels is None else recording.labels.tolist()
    with board.serve() as client:
        keep = load(client, target, keep)
        due = looked = time.monotonic()
        free, used = client.heap()
        windows = zip(fed, recording.values, recording.lengths, labels, strict=True)
        for x, signal, length, label in islice(cycle(windows), most):
            run = client.infer(x.ravel(), length=length)
            tensors = run.tensors if keep else model(x.ravel(), length)
            if time.monotonic() - looked > HEAP_SECONDS:
                free, used = client.heap()
                looked = time.monotonic()
            rows = signal.reshape(-1, channels)[:length]
            take(Result(rows, shown.probabilities(run.tensors), shown.maps(tensors),
                        run.microseconds, (used, free + used), keep, length, label))
            due = max(due + 1 / speed, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


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
